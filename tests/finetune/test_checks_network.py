"""The checks of what last-layers and full train: clean networks pass, and each fault is one check's alone."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import nn

import zoo
from finetune.checks.network import gradients, overfit
from finetune.checks.order import checks_for
from finetune.checks.study import look
from finetune.checks.subject import prepare
from finetune.cli.app import main
from finetune.data.alike import repeated
from finetune.heads import initial
from finetune.methods import load_method
from finetune.strategies import full, make_options
from finetune.training import parts
from finetune.training.learner import Learner
from zoo.features.spaces import BackboneSpace

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"
TINY = ("test_resnet", "test_convnext", "test_efficientnet")
STRATEGIES = ("last-layers", "full")
MATHEMATICS = {"first-loss", "gradients", "overfit", "rate", "activations", "frozen"}
SIDE = 64
#: Networks of random weights need more than pretrained ones.
RATE = 1.2e-3


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Crops of two real photographs, one class each."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for name in ("china", "flower"):
        (folder / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{name}.jpg") as photo:
            for i in range(40):
                x, y = rng.integers(0, photo.width - 128), rng.integers(0, photo.height - 128)
                photo.crop((x, y, x + 128, y + 128)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Make, once each, a small network of random weights that takes 64 pixels."""
    made = {}

    def make(architecture):
        if architecture not in made:
            folder = tmp_path_factory.mktemp("networks") / architecture
            torch.manual_seed(0)
            network = timm.create_model(architecture, pretrained=False, num_classes=0)
            with torch.no_grad():  # zeros, which many begin as, are nothing that training leaves behind
                for name, parameter in network.named_parameters():
                    if parameter.ndim == 1:
                        parameter.copy_(0.1 * torch.randn(parameter.shape) + name.endswith("weight"))
            network.pretrained_cfg["input_size"] = (3, SIDE, SIDE)
            save_for_hf(network, str(folder), safe_serialization=True)
            made[architecture] = folder
        return made[architecture]

    return make


@pytest.fixture
def see(photos, networks, tmp_path):
    """Make a subject."""

    def make(strategy="last-layers", folder=None, architecture="test_resnet", **options):
        pictures = tmp_path / "pictures"
        pictures.mkdir(exist_ok=True)
        backbone = zoo.load(f"local-dir:{folder or networks(architecture)}")
        chosen = make_options(load_method(strategy), {"amp": False, "rate": RATE, **options})
        return prepare(photos, BackboneSpace(backbone, "torch"), strategy, chosen, 0, pictures)

    return make


def statuses(subject):
    """The worst finding of each check of the mathematics that is not passed."""
    found = {}
    for finding in look(subject):
        if finding.check in MATHEMATICS and finding.status != "pass":
            found[finding.check] = max(
                finding.status, found.get(finding.check, "warn"), key=["warn", "fail"].index
            )
    return found


def found(subject, name):
    (one,) = [finding for finding in look(subject) if finding.name == name]
    return one


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("architecture", TINY)
def test_clean_networks_pass(architecture, strategy, see):
    subject = see(strategy, architecture=architecture)
    assert {entry.name for entry in checks_for(strategy)} >= MATHEMATICS
    assert statuses(subject) == {}
    assert {path.name for path in subject.pictures.iterdir()} == {"batch.png", "rate.svg", "activations.svg"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_pretrained_network_passes_with_the_rates_that_are_tried(strategy, photos, tmp_path):
    backbone = zoo.load("efficientnet_lite0")
    options = make_options(load_method(strategy), {})
    subject = prepare(photos, BackboneSpace(backbone, "torch"), strategy, options, 0, tmp_path)
    assert statuses(subject) == {}


def test_batch_normalisations_may_follow_the_batches(see):
    assert "frozen" not in statuses(see("last-layers", bn="train"))


# Faults that only one check reports


def test_a_loss_that_is_scaled(see, monkeypatch):
    true = Learner._loss
    monkeypatch.setattr(Learner, "_loss", lambda self, *given: 1.5 * true(self, *given))
    assert statuses(see()) == {"first-loss": "fail"}


def test_a_classifier_that_begins_a_thousand_times_too_large(see, monkeypatch):
    monkeypatch.setattr(initial, "HEAD_SCALE", 1000 * initial.HEAD_SCALE)
    assert statuses(see())["first-loss"] == "fail"


def test_weight_decay_that_reaches_nothing(see, monkeypatch):
    monkeypatch.setattr(Learner, "penalty", lambda self: 0.0)
    assert statuses(see()) == {"first-loss": "fail"}


class Wrong(torch.autograd.Function):
    """Passes values on as they are, and gradients back multiplied."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient, None


class Backwards(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return Wrong.apply(x, self.factor)


@pytest.fixture
def wrong_backward(see, monkeypatch):
    """Make a subject whose network has a layer that multiplies gradients."""

    def make(factor):
        true = full.build

        def faulty(*given):
            network = true(*given)
            network.layer2.register_module("wrong", Backwards(factor))
            return network

        monkeypatch.setattr(full, "build", faulty)
        return see("full")

    return make


def test_gradients_that_are_off_by_a_half(wrong_backward):
    """The optimiser divides by their size, so that training shows nothing of it."""
    assert statuses(wrong_backward(1.5)) == {"gradients": "fail"}


def test_gradients_with_the_wrong_sign(wrong_backward):
    assert gradients.check(wrong_backward(-1.0))[0].status == "fail"


def test_pictures_and_labels_that_do_not_belong_together(see, monkeypatch):
    true, rng = overfit.train, np.random.default_rng(0)

    class Mixed:
        def __init__(self, source):
            self.source = source

        def batch(self, rows, epoch):
            return self.source.batch(rng.permutation(rows), epoch)

    def train(job, *given, **more):
        return true(dataclasses.replace(job, source=Mixed(job.source)), *given, **more)

    monkeypatch.setattr(overfit, "train", train)
    assert statuses(see()) == {"overfit": "fail"}


def test_a_rate_a_thousand_times_too_high(see):
    assert statuses(see("full", rate=1000 * RATE)) == {"rate": "fail"}


def test_a_rate_a_thousand_times_too_low(see):
    finding = found(see(rate=1e-3 * RATE), "learning rate")
    assert finding.status == "fail"
    assert "too low" in finding.meaning


def test_a_dead_layer(see, networks, tmp_path):
    folder = tmp_path / "dead"
    folder.mkdir()
    for path in networks("test_resnet").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors["layer1.0.bn1.weight"] = torch.zeros_like(tensors["layer1.0.bn1.weight"])
    tensors["layer1.0.bn1.bias"] = torch.full_like(tensors["layer1.0.bn1.bias"], -1.0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    subject = see(folder=folder)
    assert statuses(subject) == {"activations": "fail"}
    assert "layer1.0" in found(subject, "layers").meaning


def test_a_layer_that_was_not_frozen(see, monkeypatch):
    true = parts.freeze_all_but
    monkeypatch.setattr(
        parts,
        "freeze_all_but",
        lambda network, trained, bn: true(network, trained | {"layer3.0.conv1.weight"}, bn),
    )
    subject = see()
    assert statuses(subject) == {"frozen": "fail"}
    assert "layer3.0.conv1.weight" in found(subject, "what is frozen").meaning


def test_a_normalisation_that_was_left_in_training_mode(see, monkeypatch):
    true = parts.freeze_all_but

    def forgetful(network, trained, bn):
        true(network, trained, bn)
        network.get_submodule("layer1.0.bn1").training = True

    monkeypatch.setattr(parts, "freeze_all_but", forgetful)
    assert statuses(see()) == {"frozen": "fail"}


def test_an_update_that_does_nothing(see, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    assert found(see(), "what learns").status == "fail"


# The pieces


def test_the_best_step_counts():
    assert gradients._least(1.0, iter([1.5, 1.0 + 1e-9])) == pytest.approx(1e-9)
    assert gradients._least(1.0, iter([float("nan")])) == np.inf


def test_a_new_classifier_is_near_zero():
    W = initial.head(np.random.default_rng(0), 10, 1280)
    assert W.shape == (10, 1280)
    assert W.std() == pytest.approx(1e-3, rel=0.05)


def test_pictures_that_repeat_earlier_ones():
    rng = np.random.default_rng(0)
    pixels = rng.random((5, 32, 32, 3)).astype(np.float32)
    pixels[2] = pixels[0, :, ::-1]
    pixels[4] = pixels[2]
    assert repeated(pixels.reshape(5, -1)) == {2, 4}


def test_the_command_takes_what_training_takes(photos, networks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["--data", str(photos), "--model", f"local-dir:{networks('test_resnet')}", "--engine", "torch"]
    given = ["--strategy", "last-layers", "--rate", "90", "--no-amp", "--unfreeze", "layer4.*", "--json"]
    assert main(["check", *common, *given, "--out", "kept"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert "rate" in [row["check"] for row in record["checks"] if row["status"] == "fail"]
    assert re.search(r"--rate 90.* --no-amp|--unfreeze 'layer4.\*'", record["command"])
    page = (tmp_path / "kept" / "check.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 2
    assert main(["check", *common, "--strategy", "probe", "--layers", "2"]) == 2
    assert "--layers" in capsys.readouterr().err
