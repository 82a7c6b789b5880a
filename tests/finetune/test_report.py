"""The report: complete in itself, true to the run, and safe with any class name."""

from html.parser import HTMLParser

import pytest
from PIL import Image
from sample_run import CLASSES, make_run, predictions

from finetune.report import write_report
from finetune.runs import write_predictions

VOID = {"meta", "img", "br", "hr", "link", "input", "col"}


class Checker(HTMLParser):
    """Collects text and attributes, and makes sure that every tag is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert not checker.open
    return checker, " ".join(" ".join(checker.text).split())


@pytest.fixture
def folder(tmp_path):
    """A run whose images exist, of every class."""
    y, p = predictions()
    names = []
    for i in range(len(y)):
        names.append(f"{i}.png")
        Image.new("RGB", (300, 200), (i * 4, 0, 0)).save(tmp_path / names[-1])
    write_predictions(tmp_path, names, y.tolist(), p, CLASSES)
    return tmp_path


def with_data(path, **changes):
    run = make_run(**changes)
    return run.model_copy(update={"data": run.data.model_copy(update={"path": str(path)})})


def test_numbers_are_the_runs(folder):
    run = with_data(folder)
    _, text = read(write_report(run, folder))
    for number in (
        run.test.accuracy,
        run.floor.raw_pixels_accuracy,
        run.floor.majority_accuracy,
        run.test.ci95[0],
    ):
        assert f"{number:.1%}" in text.replace("\u202f", "").replace("\xa0", "").replace(" %", "%")
    for name in CLASSES:
        assert name in text
    assert "truncated" in text
    assert "1 file was skipped." in text
    assert run.command in text or "--strategy probe" in text


def test_nothing_is_loaded_from_elsewhere(folder):
    checker, _ = read(write_report(with_data(folder), folder))
    for name, value in checker.attributes:
        if name in ("src", "href"):
            assert value.startswith(("data:", "#")), value
    assert (
        "script" not in (folder / "report.html").read_text().lower().split("<style>")[0].split("content=")[0]
    )


def test_mistakes_have_thumbnails_and_words(folder):
    checker, _ = read(write_report(with_data(folder), folder))
    images = [value for name, value in checker.attributes if name == "src"]
    y, p = predictions()
    wrong = int((p.argmax(axis=1) != y).sum())
    assert wrong
    assert len(images) == min(wrong, 12)
    assert all(value.startswith("data:image/jpeg;base64,") for value in images)
    assert sum(name == "alt" for name, _ in checker.attributes) >= len(images)


def test_gone_images_do_no_harm(folder):
    for image in folder.glob("*.png"):
        image.unlink()
    checker, _ = read(write_report(with_data(folder), folder))
    assert not [value for name, value in checker.attributes if name == "src"]


def test_without_a_curve_and_without_mistakes(tmp_path):
    run = make_run(choice={"cv_accuracy": None, "cv_std": None}, warnings=[])
    read(write_report(run, tmp_path))


def test_a_hundred_classes(tmp_path):
    run = make_run(classes=tuple(f"class {i}" for i in range(100)))
    _, text = read(write_report(run, tmp_path))
    assert "class 99" in text
