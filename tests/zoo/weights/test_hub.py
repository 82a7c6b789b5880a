"""The Hub's real client against a server on this machine: what is pulled, pinned, not asked for again."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import COMMIT, TINY, Hub

from zoo.backbone import load
from zoo.cli.app import main
from zoo.errors import RegistryError, UnknownModelError, WeightsError
from zoo.registry.entry import Entry, HubSource
from zoo.registry.registry import load_registry, resolve
from zoo.weights.locate import PullOptions, available, locate
from zoo.weights.lock import Lock, Pin
from zoo.weights.ready import ReadyModel, ready

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
REPO = "timm/tf_efficientnet_lite0.in1k"
ON_HUB = Entry(
    name="lite0_from_hub", architecture="tf_efficientnet_lite0.in1k", sources=(HubSource(repo=REPO),)
)
OFFLINE = {"offline": True}
UPDATE = {"update": True}


@pytest.fixture
def real(hub: Hub, lite0_file: Path) -> Hub:
    """A Hub that has ImageNet's weights too, as timm's repository of that name has them."""
    hub.add(REPO, "model.safetensors", lite0_file.read_bytes())
    return hub


def tiny(revision: str = "") -> Entry:
    return resolve(f"hf-hub:{TINY}{revision}")


def make(*sources: HubSource) -> Entry:
    return Entry(name="under_test", architecture="test_efficientnet", sources=sources)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# First and second pull


def test_the_hub_gives_real_weights(real: Hub, lite0: ReadyModel) -> None:
    assert not available(ON_HUB)
    model = ready(ON_HUB)
    assert model.sha256 == sha256(real.files[REPO, "model.safetensors"])
    assert model.config["source"] == f"hub: {REPO}@main/model.safetensors"
    made, original = model.folder / "model.safetensors", lite0.folder / "model.safetensors"
    assert made.read_bytes() == original.read_bytes()


def test_a_second_pull_needs_no_traffic(hub: Hub) -> None:
    model = ready(tiny())
    asked = list(hub.requests)
    assert available(tiny())
    assert ready(tiny()) == model
    assert ready(tiny(), PullOptions(**OFFLINE)) == model
    assert load(f"hf-hub:{TINY}").num_features == model.config["num_features"]
    assert hub.requests == asked


def test_the_hub_clients_cache_is_enough_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = locate(tiny())
    asked = list(hub.requests)
    assert available(tiny())
    assert locate(tiny(), PullOptions(**OFFLINE)) == first
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate(tiny()) == first
    assert hub.requests == asked


def test_offline_without_a_cache_says_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="not in the cache and offline mode is on"):
        ready(tiny(), PullOptions(**OFFLINE))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="run it once online"):
        ready(tiny())
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert ready(tiny()).config["num_classes"] == 3


def test_an_unreachable_hub_is_told_within_seconds(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    nobody_there = "http://127.0.0.1:9"
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", nobody_there)
        patch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            nobody_there + "/{repo_id}/resolve/{revision}/{filename}",
        )
        start = time.perf_counter()
        with pytest.raises(WeightsError) as caught:
            ready(tiny())
        assert time.perf_counter() - start < 5
    assert f"{nobody_there} could not be reached" in caught.value.problem
    assert "HF_ENDPOINT" in caught.value.next_step
    assert ready(tiny()).config["num_classes"] == 3


# The lock


def test_the_first_pull_is_pinned(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    ready(tiny())
    lock = Lock()
    expected = {name: sha256(tiny_files[name]) for name in ("config.json", "model.safetensors")}
    assert lock.pins() == {f"{TINY}@main": Pin(commit=COMMIT, files=expected)}
    written = json.loads(lock.paths[-1].read_text(encoding="utf-8"))
    assert written["version"] == 1
    assert written["repositories"][f"{TINY}@main"]["commit"] == COMMIT


def test_the_lock_lies_beside_the_users_registry(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "project" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text(
        f"models:\n- {{name: t, architecture: 'hf-hub:{TINY}', sources: [hub: {{repo: {TINY}}}]}}\n",
        encoding="utf-8",
    )
    load("t", registry=load_registry(mine))
    assert sorted(path.name for path in mine.parent.iterdir()) == ["mine.yaml", "zoo.lock"]
    assert list(Lock(mine).pins()) == [f"{TINY}@main"]
    assert Lock().pins() == {}
    monkeypatch.setenv("ZOO_REGISTRY", str(mine))
    assert list(Lock().pins()) == [f"{TINY}@main"]


def test_a_branch_that_moved_is_followed_on_request_only(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    config = json.loads(tiny_files["config.json"])
    first = ready(tiny())
    moved = json.dumps({**config, "label_names": ["fly", "bee", "wasp"]}).encode()
    second_commit = hub.move(TINY, {"config.json": moved})
    asked = list(hub.requests)
    assert ready(tiny()) == first
    assert hub.requests == asked
    updated = ready(tiny(), PullOptions(**UPDATE))
    assert updated.config["label_names"] == ["fly", "bee", "wasp"]
    assert Lock().pins()[f"{TINY}@main"].commit == second_commit
    assert ready(tiny()) == updated


def test_what_is_pinned_is_fetched_though_the_branch_moved(hub: Hub, tmp_path: Path) -> None:
    first = ready(tiny())
    hub.move(TINY, {"config.json": b"{}"})
    empty_all_caches(tmp_path)
    assert ready(tiny()) == first
    assert all(request.split("/resolve/")[1].startswith(COMMIT) for request in hub.requests[-4:])


def test_a_pinned_commit_that_is_gone_is_told(hub: Hub, tmp_path: Path) -> None:
    ready(tiny())
    hub.move(TINY, forget=True)
    empty_all_caches(tmp_path)
    with pytest.raises(WeightsError, match=f"no longer has the commit {COMMIT[:12]}") as caught:
        ready(tiny())
    assert "zoo pull --update" in caught.value.next_step
    assert ready(tiny(), PullOptions(**UPDATE)).config["num_classes"] == 3


def test_pull_says_what_became_of_the_pin(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"hf-hub:{TINY}"
    assert main(["pull", name, "--safe"]) == 0
    assert f"{TINY}@main is pinned at {COMMIT[:12]}." in capsys.readouterr().err
    new = hub.move(TINY)
    assert main(["pull", name]) == 0
    assert COMMIT[:12] in capsys.readouterr().err
    assert main(["pull", name, "--update"]) == 0
    assert f"was pinned at {COMMIT[:12]} and now is at {new[:12]}" in capsys.readouterr().err


def test_verify_finds_what_loading_trusts(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bits that changed under the same size and time: loading does not read the file again."""
    model = ready(tiny())
    assert main(["verify"]) == 0
    assert " 0 damaged, 0 absent." in capsys.readouterr().err
    blob = next(path for path in (tmp_path / "hub").rglob("model.safetensors")).resolve()
    for path in (model.folder / "model.safetensors", blob):
        flip_a_bit(path)
    assert ready(tiny()) == model
    assert main(["verify"]) == 2
    out, err = capsys.readouterr()
    assert out.count("damaged") == out.count("(removed)") == 2
    assert "2 of " in err
    assert "Traceback" not in err
    assert not blob.exists()
    assert ready(tiny()) == model
    assert main(["verify", "--json"]) == 0
    states = {one["name"]: one["state"] for one in json.loads(capsys.readouterr().out)}
    assert states[f"{TINY}@main/model.safetensors"] == "intact"
    assert set(states.values()) == {"intact"}


def test_a_wrong_digest_in_the_lock_is_refused(hub: Hub) -> None:
    Lock().add(TINY, "main", Pin(commit=COMMIT, files={"model.safetensors": "0" * 64}))
    with pytest.raises(WeightsError, match="is not what was pinned") as caught:
        ready(tiny())
    assert "0" * 64 in caught.value.problem
    assert "zoo.lock" in caught.value.problem
    assert ready(tiny(), PullOptions(**UPDATE)).config["num_classes"] == 3
    assert ready(tiny()).config["num_classes"] == 3


def test_an_update_offline_is_refused_and_changes_nothing(hub: Hub) -> None:
    model = ready(tiny())
    with pytest.raises(WeightsError, match="offline mode is on"):
        ready(tiny(), PullOptions(offline=True, update=True))
    assert ready(tiny()) == model


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"version": 2, "repositories": {}}', "version"),
        ('{"repositories": {"a/b@main": {"commit": "../../x", "files": {}}}}', "commit"),
        ('{"repositories": {"a/b@main": {"commit": "' + COMMIT + '", "files": {"x": "y"}}}}', "files"),
        ('{"repositories": {}, "extra": 1}', "extra"),
    ],
)
def test_a_damaged_lock_is_refused_and_left_as_it_is(text: str, told: str, hub: Hub) -> None:
    path = Lock().paths[-1]
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match=told) as caught:
        Lock().pins()
    assert str(path) in caught.value.problem
    assert path.read_text(encoding="utf-8") == text


# What a source may be


def test_a_pinned_digest_of_the_registry_is_stronger_than_the_hubs_word(hub: Hub) -> None:
    with pytest.raises(WeightsError, match="is not the file that the registry describes"):
        ready(make(HubSource(repo=TINY, sha256="0" * 64)))


def test_a_commit_can_be_named(hub: Hub) -> None:
    assert COMMIT in str(locate(tiny(f"@{COMMIT}")).path)


@pytest.mark.parametrize(
    ("source", "reason", "remedy"),
    [
        (HubSource(repo="nobody/nothing"), "has no repository nobody/nothing", "hf auth login"),
        (HubSource(repo="me/gated"), "me/gated is gated", "hf auth login"),
        (HubSource(repo=TINY, revision="v9"), "has no revision v9", "exists"),
        (HubSource(repo=TINY, file="other.safetensors"), "has no file other.safetensors", "it has"),
    ],
)
def test_what_the_hub_lacks_is_told(source: HubSource, reason: str, remedy: str, hub: Hub) -> None:
    hub.gated.add("me/gated")
    with pytest.raises(WeightsError) as caught:
        locate(make(source))
    assert reason in caught.value.problem
    assert remedy in caught.value.next_step
    assert hub.gets() == []
    assert Lock().pins() == {}


@pytest.mark.parametrize(
    "path", ["../../x", "/etc/passwd", "a/../../x", "..\\x", "C:/x", "\\\\host\\share\\x", "~/x", "a\nb", ""]
)
def test_a_path_that_leads_out_of_a_repository_is_refused(path: str, tmp_path: Path) -> None:
    quoted = json.dumps(path)
    for key in ("file", "revision"):
        registry = tmp_path / f"{key}.yaml"
        registry.write_text(
            f"models:\n- {{name: t, architecture: a, sources: [hub: {{repo: a/b, {key}: {quoted}}}]}}\n",
            encoding="utf-8",
        )
        with pytest.raises(RegistryError, match=f"line 2: t: .*{key}"):
            load_registry(registry)
    if path:
        with pytest.raises(UnknownModelError):
            resolve(f"hf-hub:a/b@{path}")


@pytest.mark.parametrize("repo", ["../b", "a/..", ".hidden/b", "a/b/c", "a b/c"])
def test_a_repository_with_a_hostile_name_is_refused(repo: str) -> None:
    with pytest.raises(UnknownModelError):
        resolve(f"hf-hub:{repo}")


def test_pull_as_a_user_types_it(real: Hub, tmp_path: Path) -> None:
    """The command itself, with nothing but the Hub's address in the environment."""
    cleared = {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    environment = {**os.environ, **cleared, "HF_ENDPOINT": real.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", "import sys; from zoo.cli.app import main; sys.exit(main())"]

    def zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)

    pulled = zoo("pull", f"hf-hub:{REPO}")
    assert pulled.returncode == 2  # The repository has no config.json here, so nobody knows what it is.
    assert "has no file config.json" in pulled.stderr
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "models:\n"
        "  - name: mine\n"
        "    architecture: tf_efficientnet_lite0.in1k\n"
        f"    sources: [hub: {{repo: {REPO}}}]\n",
        encoding="utf-8",
    )
    pulled = zoo("pull", "mine", "--registry", str(mine))
    assert pulled.returncode == 0, pulled.stderr
    assert sha256(real.files[REPO, "model.safetensors"]) in pulled.stdout
    assert f"{REPO}@main is pinned at {COMMIT[:12]}." in pulled.stderr
    listed = zoo("list", "--offline", "--json", "--registry", str(mine))
    assert {entry["name"] for entry in json.loads(listed.stdout)} == {*LITE, "mine"}


def flip_a_bit(path: Path) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def empty_all_caches(tmp_path: Path) -> None:
    """Remove everything but the lock: as on a new machine that has the project's folder."""
    import shutil

    lock = Lock().paths[-1]
    pins = lock.read_bytes()
    shutil.rmtree(tmp_path / "hub")
    shutil.rmtree(lock.parent / "models")
    assert lock.read_bytes() == pins
