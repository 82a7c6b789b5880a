"""Each check on clean images, and on the same with one fault that it alone reports."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import timm
import torch
from PIL import Image, ImageDraw
from timm.models import save_for_hf

import zoo
from finetune.checks import gradients, overfit, rate
from finetune.checks.order import CHECKS, checks_for
from finetune.checks.study import look
from finetune.checks.subject import prepare
from finetune.data.split import Folds
from finetune.heads.linear import LOSSES
from finetune.strategies import probe
from zoo.features.spaces import BackboneSpace

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"
SIDE, N = 200, 30


def crops(folder, n=N, side=SIDE, classes=("china", "flower"), seed=0):
    """Crops of two real photographs, one class each."""
    rng = np.random.default_rng(seed)
    for name, photograph in zip(classes, ("china", "flower"), strict=True):
        (folder / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{photograph}.jpg") as photo:
            for i in range(n):
                x, y = rng.integers(0, photo.width - side), rng.integers(0, photo.height - side)
                photo.crop((x, y, x + side, y + side)).save(folder / name / f"{i}.png")
    return folder


def parted(folder):
    """The same with a training and a held-out folder."""
    crops(folder / "train")
    crops(folder / "val", n=8, seed=1)
    return folder


def statuses(subject):
    """The worst finding of each check that is not passed, by the check's name."""
    found = {}
    for finding in look(subject):
        if finding.status != "pass":
            found[finding.check] = max(
                finding.status, found.get(finding.check, "warn"), key=["warn", "fail"].index
            )
    return found


@pytest.fixture(scope="module")
def backbone():
    return zoo.load("efficientnet_lite0")


@pytest.fixture
def see(backbone, tmp_path):
    """Make a subject of a folder."""

    def make(folder, network=backbone, **options):
        pictures = tmp_path / "pictures"
        pictures.mkdir(exist_ok=True)
        return prepare(folder, BackboneSpace(network), "probe", probe.Options(**options), 0, pictures)

    return make


@pytest.fixture
def clean(see, tmp_path):
    return see(crops(tmp_path / "clean"))


def random_network(folder, architecture):
    """Without a classifier, for a random one has no opinion on colours."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False, num_classes=0)
    save_for_hf(network, str(folder), safe_serialization=True)
    return zoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", "resnet18", "test_byobnet"])
@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_clean_images_pass_on_three_architectures(architecture, loss, see, backbone, tmp_path):
    pretrained = architecture == "efficientnet_lite0"
    network = backbone if pretrained else random_network(tmp_path / "network", architecture)
    subject = see(crops(tmp_path / "clean"), network, loss=loss)
    findings = look(subject)
    assert {finding.check for finding in findings} == {entry.name for entry in checks_for("probe")}
    assert [finding for finding in findings if finding.status != "pass"] == []
    assert (subject.pictures / "batch.png").is_file()


# Faults in the images


def fewer(folder):
    crops(folder)
    for i in range(5, N):
        (folder / "flower" / f"{i}.png").unlink()


def no_image(folder):
    crops(folder)
    (folder / "china" / "notes.jpg").write_text("no image")


def shrunk(folder):
    crops(folder)
    for path in folder.rglob("*.png"):
        Image.open(path).resize((110, 110)).save(path)


def same_names(folder):
    crops(folder, classes=("Photo", "photo "))


def untested_class(folder):
    parted(folder)
    shutil.rmtree(folder / "val" / "flower")


def copied_across(folder):
    parted(folder)
    shutil.copy(folder / "train" / "china" / "3.png", folder / "val" / "china" / "copy.png")


def compressed_across(folder):
    parted(folder)
    Image.open(folder / "train" / "china" / "3.png").resize((150, 150)).save(
        folder / "val" / "china" / "small.jpg", quality=60
    )


def mirrored_inside(folder):
    parted(folder)
    path = folder / "train" / "flower" / "3.png"
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path.with_name("mirrored.png"))


def mislabelled(folder):
    crops(folder)
    (folder / "flower" / "7.png").rename(folder / "china" / "wrong.png")


def placeholder(folder):
    crops(folder)
    picture = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(picture).text((60, 140), "image not found", "black", font_size=24)
    picture.save(folder / "china" / "missing.gif")


def wrong_colours(folder):
    crops(folder)
    for path in folder.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path))[..., ::-1].copy()).save(path)


IMAGE_FAULTS = {
    fewer: ("data", "warn"),
    no_image: ("data", "warn"),
    shrunk: ("data", "warn"),
    same_names: ("data", "fail"),
    untested_class: ("data", "warn"),
    copied_across: ("duplicates", "fail"),
    compressed_across: ("duplicates", "fail"),
    mirrored_inside: ("duplicates", "warn"),
    mislabelled: ("suspects", "warn"),
    placeholder: ("suspects", "warn"),
    wrong_colours: ("preprocessing", "warn"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_the_images_is_reported_by_its_check_alone(fault, see, tmp_path):
    fault(tmp_path / "faulty")
    check, status = IMAGE_FAULTS[fault]
    assert statuses(see(tmp_path / "faulty")) == {check: status}


def test_copies_with_two_labels_are_named(see, tmp_path):
    folder = crops(tmp_path / "faulty")
    shutil.copy(folder / "china" / "3.png", folder / "flower" / "copy.png")
    found = {finding.name: finding for finding in look(see(folder)) if finding.check == "duplicates"}
    assert found["contradictions"].status == "fail"
    assert "china/3.png" in found["contradictions"].meaning


def test_the_worst_comes_first(see, tmp_path):
    mislabelled(tmp_path / "a")
    placeholder(tmp_path / "b")
    assert see(tmp_path / "a").suspects[0].path == "china/wrong.png"
    assert see(tmp_path / "b").suspects[0].path == "china/missing.gif"


def test_copies_of_a_placeholder_hide_each_other_from_nobody(see, tmp_path):
    placeholder(tmp_path / "b")
    for i in range(8):
        shutil.copy(tmp_path / "b" / "china" / "missing.gif", tmp_path / "b" / "china" / f"missing-{i}.gif")
    first = see(tmp_path / "b").suspects[:9]
    assert all("missing" in suspect.path for suspect in first)


# Faults in the mathematics


def change_loss(monkeypatch, name, change):
    true = LOSSES[name]

    def faulty(scores, y):
        losses, slope = true(scores, y)
        return change(losses, slope)

    monkeypatch.setitem(LOSSES, name, faulty)


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_a_loss_that_is_scaled_is_found_at_the_start(loss, clean, monkeypatch):
    subject = dataclasses.replace(clean, options=probe.Options(loss=loss))
    change_loss(monkeypatch, loss, lambda losses, slope: (1.5 * losses, 1.5 * slope))
    assert statuses(subject) == {"first-loss": "fail"}


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_a_slope_that_is_off_by_a_twentieth_is_found(loss, clean, monkeypatch):
    subject = dataclasses.replace(clean, options=probe.Options(loss=loss))
    change_loss(monkeypatch, loss, lambda losses, slope: (losses, 1.05 * slope))
    assert statuses(subject) == {"gradients": "fail"}


def test_relative_error():
    assert gradients.relative_error(0.0, 0.0) == 0
    assert gradients.relative_error(1.0, 0.99) == pytest.approx(0.01)


def test_a_solver_that_stays_where_it_is_learns_nothing_by_heart(clean, monkeypatch):
    monkeypatch.setattr(overfit, "solve", lambda problems, l2, loss: problems.start())
    assert statuses(clean) == {"overfit": "fail"}


def test_features_of_a_wrong_scale_leave_no_rate(clean, monkeypatch):
    true = rate.problems_of

    def not_standardised(*args, **options):
        problems = true(*args, **options)
        problems.scale = problems.scale * np.float32(1e-4)
        return problems

    monkeypatch.setattr(rate, "problems_of", not_standardised)
    assert statuses(clean).keys() == {"rate"}


def test_folds_that_leak_are_found_by_shuffled_labels(clean):
    everything = np.arange(len(clean.task.train))
    pairs = [(everything, held_out) for _, held_out in clean.task.folds.pairs]
    task = dataclasses.replace(clean.task, folds=Folds(pairs, len(pairs)))
    assert statuses(dataclasses.replace(clean, task=task)) == {"shuffled": "fail"}


@pytest.mark.parametrize(
    ("mean", "std", "status"),
    [
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "fail"),  # for a range of 0 to 255, which ours is not
        ((0.485 / 255,) * 3, (0.229 / 255,) * 3, "fail"),  # divided by 255 twice
        ((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), "fail"),
        ((-0.1, -0.1, -0.1), (0.25, 0.25, 0.25), "warn"),
    ],
)
def test_a_wrong_normalisation_is_found(clean, mean, std, status, monkeypatch):
    wrong = dataclasses.replace(clean.backbone.preprocess, mean=mean, std=std)
    monkeypatch.setattr(clean.backbone, "preprocess", wrong)
    assert statuses(clean) == {"preprocessing": status}


def test_without_a_classifier_nothing_is_said_of_colours(see, tmp_path):
    subject = see(crops(tmp_path / "clean"), random_network(tmp_path / "network", "test_resnet"))
    (order,) = [finding for finding in look(subject) if finding.name == "colour order"]
    assert order.status == "pass"
    assert "Cannot be told" in order.meaning


def test_every_check_is_there():
    for entry in CHECKS:
        assert callable(entry.load())
    assert [entry.name for entry in checks_for("probe")] == [
        "data",
        "duplicates",
        "suspects",
        "preprocessing",
        "first-loss",
        "gradients",
        "overfit",
        "rate",
        "shuffled",
    ]
