"""What a result says of itself: copies, shift, contradiction, coverage and unfamiliar images, as wired."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from photos import SAMPLES, SHARED, needs_photographs
from PIL import Image, ImageEnhance, ImageFilter
from samples import images as feature_images

import finetune
from finetune.cli.app import main
from finetune.errors import RunError
from finetune.experiment import Request, prepare
from finetune.method import Fitted
from finetune.methods import make_method
from finetune.trust import Knowledge, assess
from zoo.features.spaces import RawPixels


class Pixels(RawPixels):
    """Pixels in place of a network's features: what is tested here is the way from images to words."""

    identity = {"features": "pixels"}  # noqa: RUF012

    def __init__(self, backbone, engine, precision, log, features):
        self.backbone, self.engine, self.precision = backbone, engine, precision


class Answers(Fitted):
    """Answers right on a given share of the images, evenly spread, both out of fold and held out."""

    def __init__(self, train, cv, held_out):
        scores = self.scores(train.labels, cv)
        super().__init__(classes=("a", "b"), out_of_fold=scores)
        self.held_out = held_out

    @staticmethod
    def scores(labels, share):
        right = (np.arange(len(labels)) * 0.618) % 1 < share
        return 3.0 * np.eye(2)[np.where(right, labels, 1 - labels)]

    def decision_function(self, images):
        return self.scores(images.labels, self.held_out)

    n_parameters = 0

    def save(self, folder):
        raise NotImplementedError


def noise(path, seed, change=lambda image: image):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(60, 160, (12, 12, 3), dtype=np.uint8)
    change(Image.fromarray(pixels).resize((32, 32))).save(path)


def given_split(root, n_train=40, n_test=20, change=lambda image: image):
    for part, n in (("train", n_train), ("val", n_test)):
        for c, name in enumerate("ab"):
            for i in range(n):
                noise(root / part / name / f"{i}.png", [c, i, n], change if part == "val" else lambda x: x)
    return root


def copy_into_val(root, n, class_name="a"):
    for i in range(n):
        shutil.copy(root / "train" / class_name / f"{i}.png", root / "val" / class_name / f"copy{i}.png")


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.setattr("zoo.features.spaces.BackboneSpace", Pixels)
    backbone = SimpleNamespace(name="pixel-features", num_features=RawPixels.width)

    def make(root, **more):
        return prepare(Request(str(root), (backbone.name,), engine="torch", **more), backbones=[backbone])

    return make


def assessed(found, cv=0.8, held_out=0.8):
    method = make_method("probe", features="last")
    train, test = found.task(method).train, found.held_out(method)
    return assess(found, Answers(train, cv, held_out), train, test)


# Data that bring their split


def test_without_copies_is_given_where_held_out_images_have_some(experiment, tmp_path):
    given_split(tmp_path)
    copy_into_val(tmp_path, 6)
    found = assessed(experiment(tmp_path))
    assert found.held_out_with_copy == 6
    assert (found.test.n, found.test.without_copies.n) == (46, 40)
    lo, hi = found.test.without_copies.ci95
    assert lo < found.test.without_copies.accuracy < hi
    [warning] = [w for w in found.warnings if "copies" in w]
    assert warning.startswith(
        "6 of the 46 held-out images have copies in training. Without them, accuracy is"
    )
    assert "40 images" in warning


def test_the_accuracy_without_copies_leaves_exactly_these_out(experiment, tmp_path):
    """Whoever knows the copies by heart is right on them and on nothing else."""
    given_split(tmp_path)
    copy_into_val(tmp_path, 10)

    class ByHeart(Answers):
        def decision_function(self, images):
            copied = np.array([path.name.startswith("copy") for path in images.paths])
            return np.where(copied[:, None], 1, -1) * self.scores(images.labels, 1)

    found, method = experiment(tmp_path), make_method("probe", features="last")
    train, test = found.task(method).train, found.held_out(method)
    result = assess(found, ByHeart(train, 0.8, 0.8), train, test).test
    assert result.accuracy == 10 / 50
    assert (result.without_copies.n, result.without_copies.accuracy) == (40, 0)


def test_without_copies_is_null_where_there_are_none(experiment, tmp_path):
    found = assessed(experiment(given_split(tmp_path)))
    assert (found.test.without_copies, found.held_out_with_copy, found.warnings) == (None, 0, [])


def test_a_test_set_of_copies_only_says_nothing(experiment, tmp_path):
    given_split(tmp_path, n_test=1)
    for name in "ab":
        copy_into_val(tmp_path, 8, name)
        (tmp_path / "val" / name / "0.png").unlink()
    found = assessed(experiment(tmp_path), held_out=1)
    assert found.test.without_copies is None
    [warning] = [w for w in found.warnings if "copies" in w]
    assert warning.startswith("All 16 held-out images have copies in training")


def test_copies_dropped_from_a_given_split_leave_its_number_alone(experiment, tmp_path):
    given_split(tmp_path)
    copy_into_val(tmp_path, 6)
    found = assessed(experiment(tmp_path, copies="drop"))
    assert (found.test.n, found.test.without_copies, found.held_out_with_copy) == (40, None, 0)


# Held-out images of another kind, and accuracies that contradict each other


def warmer(image):
    """As by another camera."""
    return Image.fromarray((np.asarray(image) * (1.3, 1.0, 0.6)).astype(np.uint8))


def test_held_out_images_of_another_kind_are_said(experiment, tmp_path):
    found = assessed(experiment(given_split(tmp_path, change=warmer)))
    assert found.shift.auc > 0.9
    [warning] = found.warnings
    assert warning.startswith("Training and held-out images are of different kinds")
    assert "0.50" in warning


def test_a_split_that_is_drawn_here_has_no_shift(experiment, tmp_path):
    given_split(tmp_path)
    found = assessed(experiment(tmp_path / "train"))
    assert (found.shift, found.warnings) == (None, [])


def test_a_given_split_that_was_drawn_at_random_is_not_warned_of(experiment, tmp_path):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        for i in range(80):
            part = "val" if rng.random() < 0.3 else "train"
            noise(tmp_path / str(seed) / part / "ab"[i % 2] / f"{i}.png", [seed, i])
        found = assessed(experiment(tmp_path / str(seed)))
        assert found.shift is not None
        assert found.warnings == []


@pytest.mark.parametrize(
    ("change", "copied", "cv", "held_out", "reason", "fix"),
    [
        (warmer, 0, 0.95, 0.5, "of another kind", "Add training images like those"),
        (None, 20, 0.5, 1.0, "have copies in training", "Trust the accuracy without them."),
        (None, 0, 0.95, 0.5, "not found to be of one group", "--group-by"),
        (None, 0, 0.5, 1.0, "are easier", "Trust the lower number."),
    ],
)
def test_a_contradiction_comes_first_with_its_likeliest_reason(
    experiment, tmp_path, change, copied, cv, held_out, reason, fix
):
    given_split(tmp_path, change=change or (lambda image: image))
    copy_into_val(tmp_path, copied)
    found = assessed(experiment(tmp_path), cv, held_out)
    first = found.warnings[0]
    assert f"is {'lower' if cv > held_out else 'higher'} than cross-validated accuracy" in first
    assert f"({found.test.accuracy:.1%})" in first
    assert f"({np.mean(found.contradiction.difference) + found.test.accuracy:.1%})" in first
    assert reason in first
    assert fix in first
    assert len(found.warnings) == 1 + bool(change) + bool(copied)


# A made folder: copies of every image, split afterwards


def altered(image):
    """What an author's augmentation may do."""
    (width, height), size = image.size, image.size
    return [
        image.crop((4, 4, width - 4, height - 4)).resize(size),
        ImageEnhance.Brightness(image).enhance(1.15),
        image.filter(ImageFilter.GaussianBlur(1)),
        ImageEnhance.Color(image).enhance(0.7),
        ImageEnhance.Contrast(image).enhance(0.9),
    ]


def halves(root, augmented, side=64, n=24):
    """The parts of two photographs with most detail, without overlap; the class is the half they are from."""
    for name in ("china", "flower"):
        with Image.open(SAMPLES / f"{name}.jpg") as photo:
            corners = [(x, y) for x in range(0, 640 - side + 1, side) for y in range(0, 427 - side, side)]
            parts = {corner: photo.crop((*corner, corner[0] + side, corner[1] + side)) for corner in corners}
        edges = {
            at: np.abs(np.diff(np.asarray(part.convert("L"), float))).mean() for at, part in parts.items()
        }
        for x, y in sorted(corners, key=edges.get)[-n:]:
            folder = root / f"{name}-{'left' if x < 320 else 'right'}"
            folder.mkdir(parents=True, exist_ok=True)
            part = parts[x, y]
            for i, picture in enumerate([part, *altered(part)] if augmented else [part]):
                picture.save(folder / f"{x}-{y}-{i}.png")
    return root


def cv_accuracy(found):
    method = make_method("knn")
    return method.fit(found.task(method), SimpleNamespace()).choice["cv_accuracy"]


def test_an_augmented_folder_is_as_good_as_its_originals(experiment, tmp_path):
    """Split at random it seems perfect; with copies in groups it is what it was, 60% of four classes."""
    alone, augmented = halves(tmp_path / "alone", False), halves(tmp_path / "augmented", True)
    found = experiment(augmented)
    names = [name.rsplit("-", 1)[0] for name in found.dataset.names]
    copies = found.copies.copies
    assert all(names[pair.a] == names[pair.b] for pair in copies.pairs)
    assert copies.n_images > 0.9 * len(names)
    assert cv_accuracy(experiment(augmented, copies="ignore")) > 0.97
    assert cv_accuracy(found) == pytest.approx(cv_accuracy(experiment(alone)), abs=0.05)


# What a saved model knows of itself


def known(n=60, groups=None):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 8)).astype(np.float32) + np.float32(3) * np.eye(8, dtype=np.float32)[y]
    train = feature_images(X, y)
    if groups is not None:
        train = type(train)(train.paths, train.labels, train.X, groups)
    return Knowledge.of(Answers(train, 0.9, 0.9), train), X


def test_knowledge_is_saved_and_loaded(tmp_path):
    knowledge, X = known()
    knowledge.save(tmp_path)
    loaded = Knowledge.load(tmp_path)
    p = np.random.default_rng(1).dirichlet([0.3, 0.3], 20)
    np.testing.assert_array_equal(loaded.prediction_sets(p, 0.95), knowledge.prediction_sets(p, 0.95))
    np.testing.assert_array_equal(loaded.unfamiliarity(-X), knowledge.unfamiliarity(-X))
    assert loaded.sets == knowledge.sets


def test_without_out_of_fold_predictions_a_model_knows_nothing_and_says_so(tmp_path):
    train = feature_images(np.eye(4, dtype=np.float32), np.arange(4) % 2)
    fitted = Answers(train, 1, 1)
    fitted.out_of_fold = None
    Knowledge.of(fitted, train).save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    loaded = Knowledge.load(tmp_path)
    for ask in (lambda: loaded.prediction_sets(np.eye(2), 0.9), lambda: loaded.unfamiliarity(train.X, 0.1)):
        with pytest.raises(
            RunError, match="Train with a strategy that cross-validates: probe, kernel, knn or svm"
        ):
            ask()


def test_a_coverage_that_groups_are_too_few_for_is_refused_with_the_number():
    """60 images in 15 groups are 15."""
    alone, _ = known()
    together, _ = known(groups=np.arange(60) // 4)
    alone.prediction_sets(np.eye(2), 0.95)
    with pytest.raises(RunError, match=r"at least 19 training images, or groups .* there are 15") as raised:
        together.prediction_sets(np.eye(2), 0.95)
    assert "Choose one of at most 0.9" in str(raised.value)


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1])
def test_levels_outside_0_and_1_are_refused(level):
    knowledge, X = known()
    with pytest.raises(RunError, match="between 0 and 1"):
        knowledge.prediction_sets(np.eye(2), level)
    with pytest.raises(RunError, match="between 0 and 1"):
        knowledge.unfamiliarity(X, level)


# From the command line, on a real network: a run on 24 parts of photographs, of which 20 train


def predicted(capsys, *words):
    assert main(["predict", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]


def test_predict_shows_sets_with_the_coverage_asked_for(probe_run, photos, capsys):
    rows = predicted(capsys, probe_run.path, photos / "china", "--coverage", "0.95")
    assert len(rows) == 12
    assert all(row["set"][0] == row["prediction"] for row in rows)
    assert all(0 < row["unfamiliar"] <= 1 and "rejected" not in row for row in rows)
    assert main(["predict", str(probe_run.path), str(photos / "china"), "--coverage", "0.95"]) == 0
    assert "set with 95% coverage" in capsys.readouterr().out


def test_predict_rejects_what_is_unlike_anything_in_training(probe_run, photos, tmp_path, capsys):
    from sklearn.datasets import load_digits

    for i, digit in enumerate(load_digits().images[:8]):
        Image.fromarray((digit * 15).astype(np.uint8)).resize((90, 90)).save(tmp_path / f"{i}.png")
    rows = predicted(capsys, probe_run.path, tmp_path, "--reject", "0.05")
    assert all(row["rejected"] and row["unfamiliar"] <= 0.05 for row in rows)
    own = predicted(capsys, probe_run.path, photos / "flower", "--reject", "0.05")
    assert sum(row["rejected"] for row in own) <= 2
    assert main(["predict", str(probe_run.path), str(tmp_path), "--reject", "0.05"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("none of these") == 8
    assert "8 of 8 images are unlike anything in training." in shown


@pytest.mark.parametrize(
    ("words", "problem", "step"),
    [
        (["--coverage", "0.99"], "at least 99 training images", "Choose one of at most 0.95"),
        (["--coverage", "1.5"], "not between 0 and 1", "such as 0.95"),
        (["--reject", "0.01"], "would reject nothing", "Give --reject 0.048 or more"),
        (["--reject", "2"], "--reject is 2", "between 0 and 1"),
    ],
)
def test_what_a_run_cannot_promise_is_refused(probe_run, photos, capsys, words, problem, step):
    assert main(["predict", str(probe_run.path), str(photos / "china"), *words]) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert step in said
    assert "Traceback" not in said


def test_a_run_without_either_still_predicts(probe_run, photos, tmp_path, capsys):
    shutil.copytree(probe_run.path, tmp_path / "run")
    (tmp_path / "run" / "model" / "prediction_sets.json").unlink()
    (tmp_path / "run" / "model" / "unfamiliar.safetensors").unlink()
    assert all("unfamiliar" not in row for row in predicted(capsys, tmp_path / "run", photos / "china"))
    for words in (["--coverage", "0.9"], ["--reject", "0.1"]):
        assert main(["predict", str(tmp_path / "run"), str(photos / "china"), *words]) == 2
        assert "probe, kernel, knn or svm" in capsys.readouterr().err


def test_the_record_holds_the_keys_and_the_screen_says_what_to_rely_on(photos, tmp_path, monkeypatch, capsys):
    """Each image twice: 24 groups of two."""
    for path in sorted(photos.rglob("*.png")):
        for name in (path.name, f"again-{path.name}"):
            (tmp_path / "twice" / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "twice" / path.parent.name / name)
    monkeypatch.chdir(tmp_path)
    assert main(["--data", "twice", "--out", "run", "--json"]) == 0
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert record["data"]["copies"] == {"pairs": 24, "groups": 24, "images": 48, "held_out_with_copy": 0}
    assert (record["split"]["kind"], record["split"]["n_groups"]) == ("grouped", 24)
    assert (record["shift"], record["test"]["without_copies"]) == (None, None)
    assert record["test"]["n_groups"] == record["test"]["n"] // 2
    [notice] = [notice for notice in record["data"]["notices"] if notice["kind"] == "copies"]
    assert notice["message"] in shown.err
    assert main(["--data", "twice", "--out", "run", "--copies", "ignore"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("--copies ignore") < shown.index("held-out accuracy")
    assert "On images like these, expect an accuracy of" in shown


# As their authors publish them


@pytest.mark.slow
@needs_photographs
def test_radiographs_have_next_to_no_copies(tmp_path):
    found = finetune.fit(data=SHARED / "radiographs", out=tmp_path / "run")
    assert found.data.copies.images <= 2


@pytest.mark.slow
@needs_photographs
def test_ants_and_bees_are_as_they_were(tmp_path):
    found = finetune.fit(data=SHARED / "ants-bees", out=tmp_path / "run")
    assert found.test.accuracy >= 0.95
    assert found.data.copies.images <= 5
    assert (found.test.without_copies, found.warnings) == (None, [])


@pytest.mark.slow
@needs_photographs
def test_photographs_of_magnetic_tiles_are_of_some_two_hundred_tiles(tmp_path):
    found = finetune.fit(data=SHARED / "magnetic-tiles", out=tmp_path / "run")
    [masks] = [notice for notice in found.data.notices if notice.kind == "masks"]
    assert masks.count == 1344
    assert 200 <= found.data.copies.groups <= 260
    assert found.data.copies.images >= 1300
    assert max(found.test.accuracy, found.choice["cv_accuracy"]) < 0.83
    ignored = finetune.fit(data=SHARED / "magnetic-tiles", out=tmp_path / "run", copies="ignore")
    assert min(ignored.test.accuracy, ignored.choice["cv_accuracy"]) > 0.9
    assert "held-out images have copies in training" in ignored.warnings[0]
    assert any("--copies ignore" in warning for warning in ignored.warnings)
