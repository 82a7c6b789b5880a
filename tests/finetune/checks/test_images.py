"""The checks of images and labels: clean images pass, and each fault is reported by its check alone."""

import dataclasses
import shutil

import numpy as np
import pytest
from checks_results import worst_by_check
from photos import SAMPLES, crops, tiles
from PIL import Image

from finetune.checks.context import CheckContext
from finetune.checks.data import Data
from finetune.checks.duplicates import Duplicates
from finetune.checks.labels import Labels
from finetune.checks.preprocessing import Preprocessing, SwappedChannels
from finetune.checks.shift import DataShift
from finetune.checks.shuffled import Shuffled
from finetune.data.split import Folds
from zoo.features.fill import compute

CHECKS = (Data(), Duplicates(), Labels(), Preprocessing(), Shuffled())


def run(context):
    return [result for check in CHECKS for result in check.run(context)]


def found(context, name):
    (one,) = [result for result in run(context) if result.name == name]
    return one


def with_features(context, change=lambda X: X, seed=0):
    """The context with features that tell the classes apart, changed afterwards."""
    y, experiment = context.dataset.labels, context.experiment
    rng = np.random.default_rng(seed)
    X = (4 * rng.normal(size=(2, 32))[y] + rng.normal(size=(len(y), 32))).astype(np.float32)
    matrices = {**experiment.matrices, experiment.backbone.name: change(X)}
    return CheckContext(dataclasses.replace(experiment, matrices=matrices), context.method, context.pictures)


def without_notices(context):
    """The context without what the data room says of single images, such as a crop of the sky."""
    dataset = dataclasses.replace(context.dataset, notices=())
    return CheckContext(
        dataclasses.replace(context.experiment, dataset=dataset), context.method, context.pictures
    )


def test_clean_images_pass(make_context):
    context = without_notices(with_features(make_context()))
    assert worst_by_check(run(context)) == {}
    with Image.open(context.pictures / "batch.png") as sheet:
        assert sheet.width > sheet.height > 128


def first(folder):
    """An image with something in it."""
    return max((folder / "china").iterdir(), key=lambda path: path.stat().st_size)


def split(folder):
    """A training and a held-out folder."""
    tiles(folder / "train", n=20)
    tiles(folder / "val", n=8, start=20)
    return folder


def few_of_a_class(folder):
    tiles(folder)
    for path in sorted((folder / "flower").iterdir())[5:]:
        path.unlink()


def too_small(folder):
    tiles(folder, n=20)
    for path in folder.rglob("*.png"):
        Image.open(path).resize((30, 30)).save(path)


def same_names(folder):
    tiles(folder, n=20)
    (folder / "china").rename(folder / "Photo")
    (folder / "flower").rename(folder / "photo ")


def copied_across(folder):
    shutil.copy(first(split(folder) / "train"), folder / "val" / "china" / "copy.png")


def compressed_across(folder):
    image = Image.open(first(split(folder) / "train"))
    image.resize((60, 60)).save(folder / "val" / "china" / "small.jpg", quality=60)


FAULTS = {
    few_of_a_class: ("data", "warn"),
    too_small: ("data", "warn"),
    same_names: ("data", "fail"),
    copied_across: ("duplicates", "fail"),
    compressed_across: ("duplicates", "fail"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_the_images_is_reported_by_its_check_alone(fault, make_context, tmp_path):
    fault(tmp_path / "faulty")
    check, status = FAULTS[fault]
    context = without_notices(make_context(tmp_path / "faulty"))
    assert worst_by_check(Data().run(context) + Duplicates().run(context)) == {check: status}


def test_what_every_command_says_of_the_folder_is_said_here_too(make_context, tmp_path):
    folder = split(tmp_path / "data")
    (folder / "train" / "china" / "notes.jpg").write_text("no image")
    context = make_context(folder)
    rows = {result.name: result for result in Data().run(context)}
    assert {notice.kind for notice in context.dataset.notices} <= rows.keys()
    assert rows["not readable"].status == "warn"
    assert "notes.jpg" in rows["not readable"].meaning


def test_copies_in_one_split_are_kept_together_and_no_fault(make_context, tmp_path):
    folder = tiles(tmp_path / "data", n=20)
    shutil.copy(first(folder), folder / "china" / "copy.png")
    result = found(make_context(folder), "groups")
    assert (result.status, result.value) == ("pass", 2)
    ignored = found(make_context(folder, request={"copies": "ignore"}), "groups")
    assert (ignored.status, ignored.value) == ("warn", 2)


def test_held_out_images_of_another_kind(make_context, tmp_path):
    folder = split(tmp_path / "data")
    context = with_features(make_context(folder))
    assert DataShift().applies(context)
    assert not DataShift().applies(make_context())
    assert worst_by_check(DataShift().run(context)) == {}

    def darker(X):
        X[context.experiment.split.test] += 5
        return X

    assert worst_by_check(DataShift().run(with_features(context, darker))) == {"shift": "warn"}


def test_copies_with_two_labels_are_named(make_context, tmp_path):
    folder = tiles(tmp_path / "faulty", n=10)
    shutil.copy(first(folder), folder / "flower" / "copy.png")
    result = found(make_context(folder), "different labels")
    assert result.status == "warn"
    assert "flower/copy.png" in result.meaning


def test_images_of_one_colour_are_copies_by_their_bytes_only(make_context, tmp_path):
    folder = tiles(tmp_path / "flat", n=8)
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), (9, 99, 9)).save(folder / "china" / f"{name}.png")
    Image.new("RGB", (64, 64), (99, 9, 9)).save(folder / "china" / "c.png")
    details = [d for result in Duplicates().run(make_context(folder)) for d in result.details]
    assert {(d["a"], d["b"], d["kind"]) for d in details} == {("china/a.png", "china/b.png", "bytes")}


# Labels


def test_a_wrong_label_comes_first(make_context):
    def swapped(X):
        X[[7, 40]] = X[[40, 7]]
        return X

    context = with_features(make_context(), swapped)
    assert worst_by_check(Labels().run(context)) == {"labels": "warn"}
    assert {image.index for image in context.ranking[:2]} == {7, 40}
    assert all(image.likely_label_error and not image.outlier for image in context.ranking[:2])
    assert not any(image.likely_label_error for image in context.ranking[2:])


def test_an_image_unlike_all_others_comes_first_even_with_the_likeliest_label(make_context):
    def far_out(X):
        X[3] = 3 * X[:30].mean(axis=0)  # its label is as likely as can be
        X[3, 16:] += 30
        return X

    context = with_features(make_context(), far_out)
    first = context.ranking[0]
    assert (first.index, first.outlier, first.label) == (3, True, "china")
    assert found(context, "outliers").status == "warn"


def test_copies_of_an_outlier_do_not_hide_each_other(make_context):
    def copies(X):
        X[:6] = 0
        X[:6, 5] = 40
        return X

    context = with_features(make_context(), copies)
    digests = ["same" if i < 6 else str(i) for i in range(60)]
    context = CheckContext(
        dataclasses.replace(context.experiment, digests=digests), context.method, context.pictures
    )
    assert {image.index for image in context.ranking[:6]} == set(range(6))


def test_held_out_images_are_ranked_and_groups_are_kept_whole(make_context, tmp_path):
    context = make_context(split(tmp_path / "data"))
    assert {image.split for image in context.ranking} == {"train", "test"}
    assert len(context.ranking) == 56


# Preprocessing


@pytest.mark.parametrize(
    ("mean", "std", "status"),
    [
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "fail"),  # for a range of 0 to 255, which ours is not
        ((0.485 / 255,) * 3, (0.229 / 255,) * 3, "fail"),  # divided by 255 twice
        ((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), "fail"),
        ((-0.1, -0.1, -0.1), (0.25, 0.25, 0.25), "warn"),
    ],
)
def test_a_wrong_normalisation_is_found(make_context, mean, std, status, monkeypatch):
    context = make_context()
    backbone = context.experiment.backbone
    wrong = dataclasses.replace(backbone.preprocess, mean=mean, std=std)
    monkeypatch.setattr(backbone, "preprocess", wrong)
    assert worst_by_check(Preprocessing().run(context)) == {"preprocessing": status}


def test_without_a_classifier_nothing_is_said_of_colours(make_context):
    result = found(make_context(), "colour order")
    assert (result.status, result.value) == ("pass", None)
    assert "Unknown: " in result.meaning


def test_exchanged_colours_turn_the_sign(make_context, networks, tmp_path):
    """Of whatever a network thinks of colours; a pretrained one's opinion is tested below."""
    right = tiles(tmp_path / "right", n=8)
    wrong = swapped(tiles(tmp_path / "wrong", n=8))
    network = networks("test_resnet", num_classes=10)
    t, t_swapped = (found(make_context(f, network=network), "colour order").value for f in (right, wrong))
    assert t != 0
    assert t_swapped == pytest.approx(-t, rel=0.05)


@pytest.mark.slow
def test_exchanged_colours_are_noticed_by_a_pretrained_network(make_context, tmp_path):
    right = crops(tmp_path / "right", n=20, side=200)
    wrong = swapped(crops(tmp_path / "wrong", n=20, side=200))
    model = "efficientnet_lite0"
    order = [found(make_context(folder, network=model), "colour order") for folder in (right, wrong)]
    assert [result.status for result in order] == ["pass", "warn"]


def swapped(folder):
    """The same images with red and blue exchanged."""
    for path in folder.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path))[..., ::-1].copy()).save(path)
    return folder


def test_both_orders_of_colours_are_decoded_at_the_same_scale(make_context, tmp_path):
    """A grey JPEG is the same in both orders, also where it is decoded at a fraction of its sides."""
    folder = tiles(tmp_path / "data", n=6)
    with Image.open(SAMPLES / "china.jpg") as photo:
        photo.convert("L").convert("RGB").save(folder / "china" / "grey.jpg")
    context = make_context(folder)
    space, path = context.experiment.spaces[0], folder / "china" / "grey.jpg"
    assert space.reduction(*Image.open(path).size) > 1
    plain, swapped = (compute([path], [one]).matrices[0] for one in (space, SwappedChannels(space)))
    np.testing.assert_array_equal(plain, swapped)


# Shuffled labels


def test_folds_that_leak_are_found_by_shuffled_labels(make_context):
    context = make_context()
    experiment = context.experiment
    everything = np.arange(len(experiment.split.train))
    leaking = Folds([(everything, held_out) for _, held_out in experiment.folds.pairs], 5)
    context = CheckContext(dataclasses.replace(experiment, folds=leaking), context.method, context.pictures)
    assert worst_by_check(Shuffled().run(context)) == {"shuffled": "fail"}
