"""``finetune check`` from folder to folder, and on real photographs."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest
from photos import SHARED, contents, needs_photographs, tiles
from PIL import Image

from finetune.checks import check
from finetune.checks.order import CHECKS
from finetune.cli.app import main
from finetune.experiment import Request, prepare


@pytest.fixture
def model(networks):
    return ["--model", f"local-dir:{networks()}", "--engine", "torch"]


@pytest.fixture
def request_of(networks):
    return lambda data, **more: Request(str(data), (f"local-dir:{networks()}",), engine="torch", **more)


def test_files_and_screen(photos, here, model, capsys):
    assert main(["check", "--data", str(photos), *model]) == 0
    screen = capsys.readouterr().out
    for words in ("data: class sizes", "shuffled: chance", "passed", "check.html", "label errors"):
        assert words in screen
    folder = here / "runs" / "photos-check-001"
    assert contents(folder) == ["check.html", "check.json", "pictures/batch.png"]
    page = (folder / "check.html").read_text(encoding="utf-8")
    assert page.split("What is in the folder")[0].count("data:image/jpeg") == 48
    assert "<script" not in page
    with Image.open(folder / "pictures" / "batch.png") as sheet:
        assert sheet.width > sheet.height > 128


def test_json_is_the_record_and_nothing_else(photos, here, model, capsys):
    assert main(["check", "--data", str(photos), *model, "--out", "kept", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((here / "kept" / "check.json").read_text(encoding="utf-8"))
    assert {row["check"] for row in record["checks"]} >= {"data", "duplicates", "labels", "shuffled"}
    for row in record["checks"]:
        assert row["status"] in ("pass", "warn", "fail")
        assert row["threshold"]
        assert row["meaning"]
        assert bool(row["fix"]) == (row["status"] != "pass")
    assert len(record["images"]) == 60
    order = [image["score"] for image in record["images"]]
    assert order == sorted(order, reverse=True)


def test_it_starts_from_the_experiment_of_a_training(here, request_of, tmp_path):
    """The same groups, split and warnings, with groups from the names and few of them."""
    folder = tiles(tmp_path / "data", n=30)
    request = request_of(folder, group_by=r"(\d)\d*\.png", n_folds=3, seed=2)
    record, experiment = check(request, out="kept"), prepare(request)
    assert (record.n_train, record.n_test) == (len(experiment.split.train), len(experiment.split.test))
    held_out = {experiment.dataset.names[i] for i in experiment.split.test}
    assert {image["path"] for image in record.images if image["split"] == "test"} == held_out
    assert record.warnings == experiment.warnings


def test_the_recorded_command_repeats_the_check(photos, here, model, capsys):
    given = ["--seed", "3", "--folds", "4", "--head", "mlp", "--hidden", "32", "--epochs", "5"]
    main(["check", "--data", str(photos), *model, *given, "--out", "one", "--json"])
    one = json.loads(capsys.readouterr().out)
    main([*shlex.split(one["command"])[1:], "--out", "two", "--json"])
    two = json.loads(capsys.readouterr().out)
    for key in ("checks", "images", "command", "seed", "status"):
        assert one[key] == two[key]
    assert "--hidden 32" in one["command"]


def test_a_failed_check_is_exit_code_1(here, model, tmp_path, capsys):
    folder = tmp_path / "data"
    tiles(folder / "train", n=12)
    shutil.copytree(folder / "train", folder / "val")
    assert main(["check", "--data", str(folder), *model, "--out", "kept"]) == 1
    screen = capsys.readouterr().out
    assert "across the split" in screen
    assert "fail" in screen
    page = (here / "kept" / "check.html").read_text(encoding="utf-8")
    assert "Copies" in page
    assert "train/china/" in page


def test_the_page_shows_what_is_in_the_folder(here, model, tmp_path):
    """A black image among others is named, and seen."""
    folder = tiles(tmp_path / "data", n=12)
    Image.new("RGB", (64, 64), (2, 2, 2)).save(folder / "china" / "<black>.png")
    assert main(["check", "--data", str(folder), *model, "--out", "kept"]) in (0, 1)
    page = (here / "kept" / "check.html").read_text(encoding="utf-8")
    part = page.split("What is in the folder")[1].split("</section>")[0]
    assert "<b>constant</b>" in part
    assert 'alt="constant: china/&lt;black&gt;.png"' in part
    assert "data:image/jpeg;base64," in part


def test_the_command_takes_what_training_takes(photos, here, model, capsys, monkeypatch):
    two = [check for check in CHECKS if check.name in ("learning-rate", "activations")]
    monkeypatch.setattr("finetune.checks.study.CHECKS", two)  # the others are tested one by one
    given = ["--strategy", "last-layers", "--lr", "90", "--unfreeze", "layer4.*", "--json", "--out", "kept"]
    assert main(["check", "--data", str(photos), *model, *given]) == 1
    record = json.loads(capsys.readouterr().out)
    assert "learning rate" in [row["name"] for row in record["checks"] if row["status"] == "fail"]
    assert "--lr 90" in record["command"]
    assert "--unfreeze 'layer4.*'" in record["command"]
    page = (here / "kept" / "check.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 2


def test_an_earlier_check_is_replaced_and_nothing_else(photos, here, model, capsys):
    command = ["check", "--data", str(photos), *model, "--out"]
    assert main([*command, "kept"]) == 0
    assert main([*command, "kept"]) == 0
    (here / "other").mkdir()
    (here / "other" / "run.json").write_text("{}")
    assert main([*command, "other"]) == 2
    assert contents(here / "other") == ["run.json"]
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "no nowhere"),
        (["--model", "resnet5o"], "resnet50"),
        (["--strategy", "knn"], "probe"),
        (["--loss", "mse"], "softmax"),
        (["--layers", "2"], "--layers"),
        (["--seed", "-1"], "seed"),
        (["--engine", "warp"], "openvino"),
    ],
)
def test_user_errors_are_exit_code_2(arguments, words, photos, here, capsys):
    data = [] if "--data" in arguments else ["--data", str(photos)]
    assert main(["check", *data, *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not [p for p in here.rglob("*") if p.is_file()]


def test_a_second_check_of_a_probe_loads_nothing_heavy(photos, here, networks, request_of):
    check(request_of(photos), out="first")
    code = (
        "import sys, json; from finetune.checks import check; from finetune.experiment import Request;"
        f"check(Request({str(photos)!r}, ('local-dir:{networks()}',), engine='torch'), out='second');"
        "print(json.dumps([m for m in ('torch', 'timm', 'optuna', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_names_are_escaped(here, model, tmp_path, capsys):
    folder = tiles(tmp_path / "data", n=8)
    (folder / "china").rename(folder / "[red]<b>&")
    main(["check", "--data", str(folder), *model, "--out", "kept"])
    assert "[red]<b>&" in capsys.readouterr().out
    page = (here / "kept" / "check.html").read_text(encoding="utf-8")
    assert "<b>&/" not in page
    assert "&lt;b&gt;&amp;" in page


# Real photographs, with a pretrained network


@needs_photographs
@pytest.mark.slow
@pytest.mark.parametrize("data", ["ants-bees", "sign-digits", "radiographs", "demo"])
def test_no_check_fails_on_good_data(data, here):
    folder = data if data == "demo" else str(SHARED / data)
    record = check(Request(folder), out="kept")
    assert [result for result in record.checks if result.status == "fail"] == []


@needs_photographs
@pytest.mark.slow
def test_the_placeholder_among_the_ants_is_an_outlier(here):
    record = check(Request(str(SHARED / "ants-bees")), out="kept")
    assert "train/ants/imageNotFound.gif" in [image["path"] for image in record.images[:5]]
    (outliers,) = [result for result in record.checks if result.name == "outliers"]
    assert outliers.status == "warn"
    assert "imageNotFound.gif" in outliers.meaning


@needs_photographs
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_labels_are_in_the_first_tenth(seed, here, tmp_path):
    """Five in a hundred labels of sign-digits are moved to another class, drawn at random."""
    import numpy as np

    folder = tmp_path / "wrong"
    shutil.copytree(SHARED / "sign-digits", folder)
    rng = np.random.default_rng(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name.isdigit())
    wrong = set()
    for i in rng.choice(len(paths), round(0.05 * len(paths)), replace=False):
        digit = (int(paths[i].parent.name) + int(rng.integers(1, 10))) % 10
        place = folder / str(digit) / f"wrong-{paths[i].name}"
        paths[i].rename(place)
        wrong.add(place.relative_to(folder).as_posix())
    images = check(Request(str(folder)), out="kept").images
    first = {image["path"] for image in images[: len(images) // 10]}
    assert len(wrong) == 103
    assert len(wrong & first) / len(wrong) >= 0.95
