"""The report: complete in itself, true to the run, and safe with any class name."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sample_run import CLASSES, make_run, predictions

from finetune.data.notices import Notice
from finetune.evaluation import Contradiction, Shift
from finetune.evaluation.metrics import SubsetAccuracy, evaluate
from finetune.report import write_report
from finetune.report.calibration import calibration_bins
from finetune.report.charts import BOTTOM, HEIGHT, TOP
from finetune.report.curves import curve, lr_trials, training_curves
from finetune.report.sections import Section, Table, leaderboard
from finetune.report.summary import next_steps, trust_points
from finetune.report.thumbnails import thumbnail
from finetune.runs import DataCopies, Prediction, write_predictions

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
        run.reference.raw_pixels_accuracy,
        run.reference.majority_accuracy,
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
    assert len(images) == min(wrong, 12) + 12  # and the least certain
    assert all(value.startswith("data:image/jpeg;base64,") for value in images)
    assert sum(name == "alt" for name, _ in checker.attributes) >= len(images)


def test_gone_images_do_no_harm(folder):
    for image in folder.glob("*.png"):
        image.unlink()
    checker, _ = read(write_report(with_data(folder), folder))
    assert not [value for name, value in checker.attributes if name == "src"]


NOTICES = [
    Notice(kind="dark", count=9, examples=tuple(f"{i}.png" for i in range(9)), message="9 images are dark."),
    Notice(kind="splits", count=1, examples=("a <b>folder</b>",), message="<i>One</i> folder & more."),
    Notice(kind="label conflict", count=1, examples=("8.png = 9.png",), message="A pair has two labels."),
    Notice(kind="masks", count=2, examples=("gone.png", "x" * 999), message="2 images are masks."),
]


def about_the_data(path, **changes):
    run = make_run()
    return run.model_copy(update={"data": run.data.model_copy(update={"path": str(path), **changes})})


def test_what_is_in_the_folder_is_shown_with_pictures(folder):
    (folder / "predictions.csv").unlink()  # no mistakes: all pictures are of the notices
    copies = DataCopies(pairs=3, groups=2, images=5, held_out_with_copy=1)
    page = write_report(about_the_data(folder, notices=NOTICES, copies=copies), folder)
    checker, text = read(page)
    assert len([value for name, value in checker.attributes if name == "src"]) == 6 + 2
    assert "dark: 0.png" in [value for name, value in checker.attributes if name == "alt"]
    for notice in NOTICES:
        assert notice.message in text
    assert "&lt;i&gt;One&lt;/i&gt; folder &amp; more." in page.read_text()
    assert "5 of 300 images are in 2 groups that show one thing; 1 held-out image has a copy" in text


def test_a_page_holds_thirty_pictures_of_the_folder_at_most(folder):
    (folder / "predictions.csv").unlink()
    page = write_report(about_the_data(folder, notices=NOTICES[:1] * 20), folder)
    assert len([value for name, value in read(page)[0].attributes if name == "src"]) == 30


def test_pictures_of_photographs_are_quick(tmp_path):
    """Thirty of 12 megapixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((4000, 3000)).save(tmp_path / "0.jpg")
    start = time.process_time()
    for _ in range(5):
        assert len(thumbnail(tmp_path / "0.jpg")) > 1000
    small = time.process_time() - start
    start = time.process_time()
    with Image.open(tmp_path / "0.jpg") as image:
        image.load()
    assert small / 5 < (time.process_time() - start) / 2


def test_what_puts_the_number_in_doubt_is_on_the_page(tmp_path):
    """The accuracy, without copies too, with warnings right below it; groups, shift and contradiction."""
    y, p = predictions()
    test = evaluate(y, p, CLASSES, np.arange(60) // 6)
    test = replace(test, without_copies=SubsetAccuracy(41, 0.5123, (0.35, 0.66)))
    run = make_run(
        test=test,
        shift=Shift(auc=0.93, p_value=0.0005),
        contradiction=Contradiction(difference=0.213, ci95=(0.1, 0.3), p_value=0.004),
        warnings=["Held-out accuracy is <lower>."],
    )
    page = write_report(run, tmp_path)
    _, text = read(page)
    assert text.index("accuracy on 60 held-out images") < text.index("Held-out accuracy is <lower>.")
    assert text.index("Held-out accuracy is <lower>.") < text.index("The numbers")
    for words in (
        "51.2% (35.0% to 66.0%) on the 41 held-out images without a copy",
        f"in 10 groups, worth about {test.n_effective:.0f} independent images",
        "AUC 0.93", "p = 0.0005", "+21.3 points", "+10.0 to +30.0; p = 0.004",
        "The intervals count groups, not images",
    ):  # fmt: skip
        assert words in text


def test_intervals_of_classes_are_wider_where_images_form_groups(tmp_path):
    y, p = predictions()
    rows = {}
    for name, groups in (("alone", None), ("together", np.arange(60) // 12)):
        run = make_run(test=evaluate(y, p, CLASSES, groups))
        page = write_report(run, tmp_path).read_text()
        rows[name] = [tuple(map(int, pair)) for pair in re.findall(r">(\d+)% to (\d+)%<", page)]
    assert len(rows["alone"]) == len(CLASSES)
    widths = {name: sum(high - low for low, high in found) for name, found in rows.items()}
    assert widths["together"] > widths["alone"]


def test_without_a_curve_and_without_mistakes(tmp_path):
    run = make_run(choice={"cv_accuracy": None, "cv_std": None}, warnings=[])
    read(write_report(run, tmp_path))


def test_a_hundred_classes(tmp_path):
    run = make_run(classes=tuple(f"class {i}" for i in range(100)))
    _, text = read(write_report(run, tmp_path))
    assert "class 99" in text


def points(key, values, scores):
    return [{key: x, "cv_accuracy": s, "cv_std": 0.01} for x, s in zip(values, scores, strict=True)]


def test_the_curve_marks_what_was_chosen_even_if_another_scores_higher():
    drawn = curve({"l2": 0.1, "curve": points("l2", [10.0, 0.001, 0.1], [0.8, 0.7, 0.79])})
    assert [row["l2"] for row in drawn.rows] == [0.001, 0.1, 10.0]
    assert drawn.chosen == 1
    marks = re.findall(r'<circle class="mark (\w+)" cx="([\d.]+)" cy="([\d.]+)"', drawn.charts[0])
    assert [mark for mark, _, _ in marks] == ["dot", "ring", "dot"]
    heights = [float(y) for _, _, y in marks]
    assert heights[2] < heights[1] < heights[0]  # higher accuracy, higher on the page


def test_powers_stand_on_a_logarithmic_axis_and_equal_steps_on_a_linear_one():
    powers = curve({"curve": points("l2", [10.0**e for e in range(-4, 3)], [0.5] * 7)}).charts[0]
    for label in ("10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1", "10", "10²"):
        assert f">{label}</text>" in powers
    steps = curve({"curve": points("k", range(1, 51), [0.5] * 50)}).charts[0]
    assert ">20</text>" in steps
    assert ">40</text>" in steps
    assert "⁰" not in steps


@pytest.mark.parametrize("score", [0.0, 0.004, 0.5, 0.999, 1.0])
def test_a_flat_curve_stays_within_its_axis(score):
    svg = curve({"curve": [{"k": k, "cv_accuracy": score, "cv_std": None} for k in (1, 2, 3)]}).charts[0]
    heights = [float(y) for y in re.findall(r'<circle[^>]* cy="([\d.]+)"', svg)]
    assert len(heights) == 3
    assert all(TOP <= y <= HEIGHT - BOTTOM for y in heights)
    labels = [float(label) for label in re.findall(r">([\d.]+)%</text>", svg)]
    assert labels
    assert all(0 <= label <= 100 for label in labels)


def test_one_point_is_no_curve():
    assert curve({"curve": points("k", [1], [0.5])}) is None
    assert curve({}) is None


def test_a_page_with_thumbnails_is_quick(folder):
    write_report(with_data(folder), folder)  # imports and compiled templates
    start = time.perf_counter()
    write_report(with_data(folder), folder)
    assert time.perf_counter() - start < 1  # 0.1 s alone; the limit leaves room for a busy machine


def test_what_to_know_comes_from_the_run():
    y, p = predictions(n=12)
    run = make_run(test=evaluate(y, p, CLASSES), warnings=["Copies."])
    counts = {**run.data.counts, "bees": 8}
    data = run.data.model_copy(update={"counts": counts, "n_images": sum(counts.values())})
    points = trust_points(run.model_copy(update={"data": data}))
    assert points[0] == "Copies."
    assert any("12 held-out images leave the accuracy open" in point for point in points)
    assert any("1 class has fewer than 10 training images: bees" in point for point in points)
    assert any("1 file could not be read" in point for point in points)


def test_nothing_is_said_against_a_number_that_nothing_speaks_against():
    y = np.arange(3000) % 3
    run = make_run(test=evaluate(y, np.eye(3)[y] * 0.97 + 0.01, CLASSES), warnings=[])
    counts = dict.fromkeys(CLASSES, 2000)
    data = run.data.model_copy(update={"skipped": [], "counts": counts, "n_images": 6000})
    run = run.model_copy(update={"data": data})
    assert trust_points(run) == []
    assert [step.command.split()[1] for step in next_steps(run)] == ["compare", "predict"]


def test_the_pair_that_most_mistakes_are_of_is_named():
    y = np.zeros(20, int)
    p = np.eye(3)[[1] * 6 + [0] * 14] * 0.9 + 0.1 / 3
    steps = [step.text for step in next_steps(make_run(test=evaluate(y, p, CLASSES)))]
    assert any("6 of 6 mistakes are ants predicted as bees" in step for step in steps)


def test_bins_of_the_calibration_curve_hold_all_images():
    rng = np.random.default_rng(0)
    predictions = [Prediction("", "a", "b", p, bool(rng.random() < p)) for p in [*rng.random(500), 1.0, 0.0]]
    bins = calibration_bins(predictions)
    assert sum(one.n for one in bins) == 502
    assert all(one.start <= one.probability <= one.end for one in bins)
    inside = [one.low <= one.probability <= one.high for one in bins]
    assert sum(inside) >= 8  # calibrated by construction


def test_the_l2_path_has_its_loss_and_k_has_error_bars():
    rows = [{"l2": 10.0**e, "cv_accuracy": 0.9, "cv_std": 0.01, "cv_loss": 0.2 + e * e} for e in range(-3, 4)]
    drawn = curve({"l2": 1.0, "curve": rows})
    assert drawn.by_loss
    assert len(drawn.charts) == 2
    knn = curve({"k": 3, "curve": points("k", range(1, 9), [0.8] * 8)})
    assert knn.charts[0].count('class="error"') == 8


def test_training_curves_show_both_trainings():
    lines = [
        {"epoch": e, "loss": 1 / e, "accuracy": 1 - 0.5 / e, "lr": 0.01 / e, "update_ratio": 1e-3}
        for e in (1, 2, 3)
    ]
    judged = [{"epochs": e, "validation_loss": 2 / e, "validation_accuracy": 1 - 0.6 / e} for e in (1, 2)]
    drawn = training_curves({"curve": judged}, lines)
    assert [re.search('aria-label="(.+?)"', svg)[1].split()[0] for svg in drawn] == [
        "Loss", "Accuracy", "Learning", "Update",
    ]  # fmt: skip
    assert drawn[0].count('class="mark diamond"') == 2 + 1  # and one in the key
    assert curve({"curve": judged}) is None
    assert training_curves({}, [{"step": 0, "l2": 1.0}]) == []
    tried = [{"lr": 10.0**-e, "validation_loss": None if e == 1 else 0.1 * e} for e in (1, 2, 3)]
    assert len(re.findall("<circle", lr_trials({"lr": 0.01, "learning_rates": tried}))) == 2


def test_other_sections_stand_behind_the_first_screen(tmp_path):
    rows = [("probe <1>", 0.94, 0.9, 0.97, "0.4 s"), ("knn", 0.9, None, None, "0.1 s")]
    added = [
        leaderboard(rows, ["time"]),
        Section("Notes & more", ("One <b>.",), table=Table(("a",), [["<i>"]])),
    ]
    page = write_report(make_run(), tmp_path, added)
    _, text = read(page)
    assert text.index("What to do next") < text.index("Leaderboard") < text.index("Confusion matrix")
    for words in ("probe <1>", "90.0% to 97.0%", "Notes & more", "One <b>."):
        assert words in text
    assert '<a href="#notes-more">' in page.read_text()
    assert '<section id="notes-more">' in page.read_text()
