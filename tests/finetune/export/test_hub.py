"""A run as a repository of the Hub: its folder, its card, and the upload by the real client."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import Hub, serve, use
from photos import crops
from sample_run import make_run

from finetune.cli.app import main
from finetune.errors import RunError
from finetune.export.card import model_card
from finetune.export.hub import FILES, write_hub_folder
from finetune.export.markdown import escape, without_paths
from finetune.export.predictor import load
from finetune.export.push import push
from finetune.runs import Run

REPO = "me/flowers-or-temples"
TOKEN = "hf_test"
CONFIG = {"architecture": "test_efficientnet", "pretrained_cfg": {}}


@pytest.fixture(scope="module")
def run(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of a tiny network on crops of two photographs, in a folder whose name others must not see."""
    import timm

    home = tmp_path_factory.mktemp("alice at home")
    (home / "network").mkdir()
    model = timm.create_model("test_efficientnet", num_classes=5)
    timm.models.save_for_hf(model, str(home / "network"), safe_serialization=True)
    data = crops(home / "my photos")
    # The weights are random: which features would be chosen is, too.
    given = ["--features", "last", "--data", str(data), "--model", f"local-dir:{home / 'network'}"]
    quick = ["--engine", "torch", "--precision", "fp32", "--copies", "ignore"]
    assert main([*given, *quick, "--out", str(home / "run")]) == 0
    return home / "run"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub(tokens={TOKEN})
    with serve(served):
        use(served, tmp_path / "hub", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


def metadata(card: str) -> dict[str, object]:
    import yaml

    found: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_a_pushed_run_opens_in_timm_and_in_the_zoo(
    run: Path, hub: Hub, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zoo

    assert main(["push", str(run), REPO, "--private"]) == 0
    assert f"{hub.url}/{REPO}/commit/" in capsys.readouterr().out
    assert sorted(file for repo, file in hub.files if repo == REPO) == sorted(FILES)
    asked = [request.split()[1].split("?")[0] for request in hub.requests if request[:2] == "PO"]
    steps = ["/api/repos/create", "/preupload/", "/info/lfs/objects/batch", "/commit/"]
    assert all(any(step in path for path in asked) for step in steps)

    image = next((Path(Run.load(run).data.path) / "flower").iterdir())
    expected = load(run, engine="torch").predict_proba([image])
    # The code that the card shows, as it is.
    code = hub.files[REPO, "README.md"].decode().split("```python\n")[1].split("```")[0]
    shown: dict[str, Any] = {}
    exec(code.replace("photo.jpg", str(image)), shown)
    np.testing.assert_allclose(shown["probabilities"], expected[0], atol=1e-4)
    assert shown["model"].pretrained_cfg["label_names"] == ["china", "flower"]
    assert zoo.load(f"hf-hub:{REPO}").num_features == shown["model"].num_features


def test_nothing_that_is_sent_names_a_place_on_this_machine(run: Path, tmp_path: Path) -> None:
    write_hub_folder(Run.load(run), tmp_path, REPO)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    home = run.parent
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for secret in (str(home), home.name, str(Path.home()), str(home.parent)):
            assert secret.encode() not in content, (path.name, secret)


def test_the_card_is_filled_from_the_run() -> None:
    found = make_run(path="/somewhere/run", data=make_run().data.model_copy(update={"path": "/x/my photos"}))
    card = model_card(found, CONFIG, REPO)
    about = metadata(card)
    assert about["library_name"] == "timm"
    assert about["pipeline_tag"] == "image-classification"
    assert about["license"] == "apache-2.0"
    assert about["base_model"] == "timm/tf_efficientnet_lite0.in1k"
    metrics = about["model-index"][0]["results"][0]["metrics"]  # type: ignore[index]
    assert metrics[0]["value"] == round(found.test.accuracy, 4)
    assert metrics[0]["args"]["confidence_interval_95"] == [round(end, 4) for end in found.test.ci95]
    for text in ("my photos", f'"hf-hub:{REPO}"', f"{100 * found.test.ci95[0]:.1f}% to", "Apache-2.0"):
        assert text in card
    assert str(found.split.n_test) in card
    from huggingface_hub import ModelCard

    assert ModelCard(card).data.library_name == "timm"


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN")
    assert main(["push", str(run), REPO, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for name in FILES:
        assert name in out
    assert "library_name: timm" in out
    assert main(["push", str(run), REPO, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["url"] is None
    assert told["files"]["model.safetensors"] == (run / "model" / "model.safetensors").stat().st_size
    assert hub.requests == []


def test_an_upload_that_the_hub_does_not_accept_is_told(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(RunError, match="does not let you write") as caught:
        push(run, REPO)
    assert "hf auth login" in caught.value.next_step
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    from huggingface_hub import constants

    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(RunError, match="Offline mode is on"):
            push(run, REPO)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(RunError, match="could not be uploaded"):
            push(run, REPO)
    assert [key for key in hub.files if key[0] == REPO] == []
    assert push(run, REPO).url


def test_no_space_for_what_is_to_be_sent(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(RunError, match="No space left on device") as caught:
            push(run, REPO)
    assert "TMPDIR" in caught.value.next_step
    assert hub.requests == []


@pytest.mark.parametrize("repo", ["flowers", "a/b/c", "me/", "/x", "me/a b", "me/..", "../me", "me/-x-"])
def test_a_name_that_is_no_repositorys_is_refused(repo: str, run: Path) -> None:
    with pytest.raises(RunError, match="not the name of a Hub repository"):
        push(run, repo, dry_run=True)


def test_a_head_that_timm_cannot_hold_is_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(run, other)
    config = json.loads((other / "model" / "config.json").read_text(encoding="utf-8"))
    (other / "model" / "config.json").write_text(json.dumps({**config, "head": {"kind": "knn"}}))
    with pytest.raises(RunError, match="'knn'"):
        push(other, REPO, dry_run=True)


def test_texts_of_the_user_are_shown_as_they_are() -> None:
    hostile = [
        "<script>alert(1)</script>",
        "a|b",
        "![x](http://x)",
        "# big",
        "1. one",
        "`x`",
        "two\nlines",
        "a_b_",
    ]
    card = model_card(make_run(classes=hostile, warnings=["see /home/alice/x.jpg | <b>"]), CONFIG, REPO)
    body = card.split("---\n", 2)[2]
    assert "<script" not in body
    assert "<b>" not in body
    assert "/home/alice" not in card
    assert "two lines" in body
    tables = [line for line in body.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {3, 4, 6}
    assert metadata(card)["library_name"] == "timm"


def test_a_network_of_the_users_own_is_not_named_by_its_place() -> None:
    card = model_card(make_run(model="local-dir:/home/alice/secret/model"), CONFIG, REPO)
    assert "secret" not in card
    assert "test\\_efficientnet" in card
    assert "not known: ask their author" in card
    assert "license" not in metadata(card)


def test_the_code_of_the_card_averages_what_the_run_did() -> None:
    assert "images = image[None]\n" in model_card(make_run(), CONFIG, REPO)
    mirrored = model_card(make_run(), {**CONFIG, "tta": "mirror"}, REPO)
    assert "torch.stack([image, image.flip(2)])" in mirrored


def test_without_paths() -> None:
    assert without_paths("see /home/me/a.jpg, C:\\x\\b.jpg and/or ../up/c") == "see a.jpg, b.jpg and/or c"
    assert without_paths("in /my photos/of ants", "/my photos/of ants") == "in of ants"
    assert escape("- a") == "\\- a"
