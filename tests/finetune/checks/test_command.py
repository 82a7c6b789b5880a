"""``finetune check`` from folder to folder, and on real photographs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from finetune.checks import check
from finetune.checks.duplicates import find_pairs
from finetune.cli.app import main

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_photographs = pytest.mark.skipif(not SHARED.is_dir(), reason="the example photographs are not here")


def crops(folder, n=12, side=200):
    rng = np.random.default_rng(0)
    for name in ("china", "flower"):
        (folder / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{name}.jpg") as photo:
            for i in range(n):
                x, y = rng.integers(0, photo.width - side), rng.integers(0, photo.height - side)
                photo.crop((x, y, x + side, y + side)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_what_is_kept(photos, here, capsys):
    assert main(["check", "--data", str(photos)]) == 0
    screen = capsys.readouterr().out
    for words in ("data: class sizes", "shuffled: chance", "passed", "check.html", "least like their class"):
        assert words in screen
    folder = here / "runs" / "photos-check-001"
    kept = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert kept == ["check.html", "check.json", "pictures/batch.png"]
    page = (folder / "check.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 24
    assert "<script" not in page
    with Image.open(folder / "pictures" / "batch.png") as sheet:
        assert sheet.width > sheet.height > 128


def test_json_is_the_record_and_nothing_else(photos, here, capsys):
    assert main(["check", "--data", str(photos), "--out", "kept", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((here / "kept" / "check.json").read_text(encoding="utf-8"))
    assert {row["check"] for row in shown["checks"]} >= {"data", "duplicates", "suspects", "shuffled"}
    for row in shown["checks"]:
        assert row["status"] in ("pass", "warn", "fail")
        assert row["threshold"]
        assert row["meaning"]
        assert row["todo"] or row["status"] == "pass"
    assert len(shown["suspects"]) == 24
    order = [suspect["suspicion"] for suspect in shown["suspects"]]
    assert order == sorted(order, reverse=True)


def test_one_seed_one_result(photos, here):
    one, two = (check(photos, out=name, seed=3) for name in ("one", "two"))
    assert one.checks == two.checks
    assert one.suspects == two.suspects


def test_a_failed_check_is_exit_code_1(photos, here, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(photos, folder / "train")
    shutil.copytree(photos, folder / "val")
    assert main(["check", "--data", str(folder), "--out", "kept"]) == 1
    screen = capsys.readouterr().out
    assert "across the split" in screen
    assert "fail" in screen
    assert "Copies" in (here / "kept" / "check.html").read_text(encoding="utf-8")


def test_an_earlier_check_is_replaced_and_nothing_else(photos, here, capsys):
    assert main(["check", "--data", str(photos), "--out", "kept"]) == 0
    assert main(["check", "--data", str(photos), "--out", "kept"]) == 0
    assert main(["--data", str(photos), "--out", "run"]) == 0
    assert main(["check", "--data", str(photos), "--out", "run"]) == 2
    assert (here / "run" / "model").is_dir()
    assert main(["--data", str(photos), "--out", "kept"]) == 2
    assert (here / "kept" / "check.json").is_file()
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "no nowhere"),
        (["--model", "resnet5o"], "resnet50"),
        (["--strategy", "knn"], "probe"),
        (["--loss", "mse"], "softmax"),
        (["--seed", "-1"], "seed"),
        (["--engine", "warp"], "openvino"),
    ],
)
def test_what_the_user_can_mend_is_exit_code_2(arguments, words, photos, here, capsys):
    data = [] if "--data" in arguments else ["--data", str(photos)]
    assert main(["check", *data, *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not [p for p in here.rglob("*") if p.is_file()]


def test_held_out_classes_that_are_not_trained_are_refused(photos, here, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(photos, folder / "train")
    shutil.copytree(photos, folder / "val")
    (folder / "val" / "china").rename(folder / "val" / "China ")
    assert main(["check", "--data", str(folder)]) == 2
    assert "is it train's 'china'?" in capsys.readouterr().err


def test_a_second_check_needs_no_network(photos, here):
    check(photos, out="first")
    code = (
        "import sys, json; from finetune.checks import check;"
        f"check({str(photos)!r}, out='second');"
        "print(json.dumps([m for m in ('torch', 'timm', 'sklearn', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_names_are_strangers_text(here, tmp_path, capsys):
    folder = crops(tmp_path / "data", n=5)
    (folder / "china").rename(folder / "[red]<b>&")
    assert main(["check", "--data", str(folder), "--out", "kept"]) == 0
    assert "[red]<b>&" in capsys.readouterr().out
    page = (here / "kept" / "check.html").read_text(encoding="utf-8")
    assert "<b>&/" not in page
    assert "&lt;b&gt;&amp;" in page


def test_flat_pictures_are_copies_by_their_bytes_only():
    pixels = np.zeros((4, 3072), np.float32)
    pixels[2] = 0.5
    pairs = find_pairs(np.ones((4, 8), np.float32), pixels, ["a", "a", "b", "c"])
    assert [(pair.a, pair.b, pair.exact) for pair in pairs] == [(0, 1, True)]


# Real photographs


@needs_photographs
def test_the_placeholder_among_the_ants_is_found(here):
    record = check(SHARED / "ants-bees", out="kept")
    first = [suspect["path"] for suspect in record.suspects[:5]]
    assert "train/ants/imageNotFound.gif" in first
    (strange,) = [finding for finding in record.checks if finding.name == "strange images"]
    assert strange.status == "warn"
    assert "imageNotFound.gif" in strange.meaning
    assert record.status == "warn"


@needs_photographs
@pytest.mark.parametrize("seed", [0, 1])
def test_swapped_labels_are_in_the_first_tenth(seed, here, tmp_path):
    """Five in a hundred labels of sign-digits are moved to another class, drawn at random."""
    folder = tmp_path / "swapped"
    shutil.copytree(SHARED / "sign-digits", folder)
    rng = np.random.default_rng(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name.isdigit())
    swapped = set()
    for i in rng.choice(len(paths), round(0.05 * len(paths)), replace=False):
        digit = (int(paths[i].parent.name) + int(rng.integers(1, 10))) % 10
        place = folder / str(digit) / f"swapped-{paths[i].name}"
        paths[i].rename(place)
        swapped.add(place.relative_to(folder).as_posix())
    suspects = check(folder, out="kept").suspects
    first = {suspect["path"] for suspect in suspects[: len(suspects) // 10]}
    assert len(swapped) == 103
    assert len(swapped & first) / len(swapped) >= 0.95


@needs_photographs
def test_sign_digits_has_no_copies_and_says_that_it_is_small(here):
    record = check(SHARED / "sign-digits", out="kept")
    found = {f"{finding.check}: {finding.name}": finding.status for finding in record.checks}
    assert record.status == "warn"
    assert found["data: image sizes"] == "warn"  # 100 pixels for a network that takes 224
    assert {status for name, status in found.items() if name.startswith("duplicates")} == {"pass"}
