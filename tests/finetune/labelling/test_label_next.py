"""Which images to label next."""

import csv
import json
import shutil

import numpy as np
import pytest
from networks import Zoo
from photos import crops
from PIL import Image

from finetune.cli.app import main
from finetune.labelling.choose import choose, uncertainty


def test_uncertainty_is_that_between_the_two_best_classes():
    p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.35, 0.25]])
    np.testing.assert_allclose(uncertainty(p), [0, 1, 0.95])


def test_uncertain_images_that_differ_are_chosen():
    """Four copies of the most uncertain image, three others, and one that is certain."""
    p = np.array([[0.5, 0.5]] * 4 + [[0.55, 0.45], [0.6, 0.4], [0.62, 0.38], [0.99, 0.01]])
    angles = np.radians([0, 0, 0, 0, 10, 40, 80, 60])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert choose(p, X, 3, candidates=7 / 3).tolist() == [0, 6, 5]
    assert choose(p, X, 3, candidates=1).tolist() == [0, 1, 2]
    assert sorted(choose(p, X, 20)) == list(range(8))


@pytest.fixture(scope="module")
def model(shared_cache, tmp_path_factory):
    return f"local-dir:{Zoo(tmp_path_factory.mktemp('networks'))('test_efficientnet').folder}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Some labelled images, and a folder of others, two copies of labelled ones and a text."""
    monkeypatch.chdir(tmp_path)
    crops(tmp_path / "photos", n=8)
    (tmp_path / "archive").mkdir()
    for path in crops(tmp_path / "others", n=6, seed=1).rglob("*.png"):
        shutil.copy(path, tmp_path / "archive" / f"{path.parent.name}-{path.name}")
    for i in range(2):
        shutil.copy(f"photos/china/{i}.png", f"archive/known-{i}.png")
    shutil.copy("archive/china-0.png", "archive/again.png")
    (tmp_path / "archive" / "notes.txt").write_text("no image")
    return tmp_path


def run(model, *words):
    return main(["label-next", "--data", "photos", "--model", model, "--engine", "torch", *words])


def test_a_list_and_a_contact_sheet(here, model, capsys):
    assert run(model, "--unlabelled", "archive", "-n", "5", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["n_labelled"], shown["n_unlabelled"], shown["already_labelled"]) == (16, 12, 2)
    assert shown["skipped"] == [{"path": "archive/notes.txt", "reason": "not an image in a format we read"}]
    names = [image["path"] for image in shown["images"]]
    assert len(set(names)) == 5
    assert not any("known" in name for name in names)
    table = list(csv.DictReader((here / shown["folder"] / "label-next.csv").open()))
    assert [row["path"] for row in table] == names
    with Image.open(here / shown["folder"] / "contact-sheet.jpg") as sheet:
        assert sheet.width > 5 * 160
        assert np.asarray(sheet.convert("L"))[20:150, 20:150].std() > 5  # a picture, and no empty paper


def test_the_screen_names_the_files(here, model, capsys):
    assert run(model, "--unlabelled", "archive", "-n", "99", "--out", "next") == 0
    shown = capsys.readouterr()
    assert "and 2 more" in shown.out
    assert "next/contact-sheet.jpg" in shown.out
    assert "2 images are labelled already" in shown.err
    assert len((here / "next" / "label-next.csv").read_text().splitlines()) == 13


def empty(folder):
    (folder / "nothing").mkdir()
    return "nothing"


def texts(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("no image")
    return "texts"


def known(folder):
    shutil.copytree(folder / "photos" / "china", folder / "known")
    return "known"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty, "is empty"),
        (texts, "readable image"),
        (known, "labelled already"),
        (lambda folder: "photos/china", "overlap"),
        (lambda folder: ".", "overlap"),
        (lambda folder: "gone", "There is no gone"),
    ],
)
def test_folders_that_cannot_serve(here, model, capsys, make, words):
    folder = make(here)
    before = sorted(here.iterdir())
    assert run(model, "--unlabelled", folder) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert sorted(here.iterdir()) == before


def test_too_few_labelled_images(here, model, capsys):
    for path in sorted((here / "photos" / "flower").iterdir())[1:]:
        path.unlink()
    assert run(model, "--unlabelled", "archive") == 2
    assert "flower" in capsys.readouterr().err
    assert run(model, "--unlabelled", "archive", "-n", "0") == 2
    assert "Give 1 or more" in capsys.readouterr().err
