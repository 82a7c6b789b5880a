"""The checks of a training: clean parts pass, and each fault is reported by one check alone."""

import dataclasses

import numpy as np
import pytest
import torch
from checks_results import worst_by_check
from safetensors.torch import load_file, save_file

from finetune.checks import network_part
from finetune.checks.activations import Activations
from finetune.checks.context import CheckContext
from finetune.checks.contract import Check
from finetune.checks.first_loss import FirstLoss
from finetune.checks.frozen import Frozen
from finetune.checks.learning_rate import LearningRate
from finetune.checks.order import CHECKS
from finetune.checks.overfit import Overfit
from finetune.checks.trainable import draw
from finetune.heads import initial
from finetune.training import parts
from finetune.training.learner import Learner

TRAINING = (FirstLoss, Overfit, LearningRate, Activations, Frozen)
#: Networks of random weights need a higher learning rate than pretrained ones.
LR = 1.2e-3


def run(context):
    kept = [check for check in CHECKS if isinstance(check, TRAINING) and check.applies(context)]
    return [result for check in kept for result in check.run(context)]


def found(context, name):
    (one,) = [result for result in run(context) if result.name == name]
    return one


def names(context):
    return [check.name for check in CHECKS if check.applies(context)]


@pytest.fixture
def network(make_context):
    def make(strategy="last-layers", architecture=None, **options):
        return make_context(strategy=strategy, network=architecture, **{"lr": LR, **options})

    return make


# Which checks there are


def test_every_check_is_listed_once():
    assert all(isinstance(check, Check) for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS) == 11
    assert len(Check.__subclasses__()) == len(CHECKS)


def test_each_strategy_has_the_checks_that_mean_something_for_it(make_context, network):
    images = ["data", "duplicates", "labels", "preprocessing"]
    assert names(make_context()) == [*images, "overfit", "shuffled"]
    by_gradient = [*images, "first-loss", "overfit", "learning-rate", "activations"]
    assert names(make_context(head="mlp")) == [*by_gradient, "shuffled"]
    assert names(network()) == [*by_gradient, "frozen", "shuffled"]


# A probe's head


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_clean_head_passes(head, loss, make_context):
    assert worst_by_check(run(make_context(head=head, loss=loss))) == {}


def test_a_hidden_layer_is_checked_and_not_a_linear_head(make_context):
    """The linear head cannot memorise what the hidden layer can: two classes whose means are equal."""
    context = make_context(head="mlp", hidden=64, features="last")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2)).astype(np.float32)
    X = (3 * X / np.linalg.norm(X, axis=1, keepdims=True)) * np.where(np.arange(60) < 30, 1, 4)[:, None]
    contexts = [context, make_context(features="last")]
    accuracies = []
    for one in contexts:
        experiment = one.experiment
        features = {**experiment.matrices, experiment.backbone.name: X.astype(np.float32)}
        one = CheckContext(dataclasses.replace(experiment, matrices=features), one.method, one.pictures)
        accuracies.append(found(one, "20 images").value)
    assert accuracies[0] > accuracies[1]


def test_features_that_are_not_finite_are_found_at_the_start(make_context):
    context = make_context(head="mlp")
    experiment = context.experiment
    X = experiment.matrices[experiment.backbone.name].copy()
    X[:, 0] = np.nan
    matrices = {**experiment.matrices, experiment.backbone.name: X}
    context = CheckContext(
        dataclasses.replace(experiment, matrices=matrices), context.method, context.pictures
    )
    with np.errstate(all="ignore"):
        assert worst_by_check(FirstLoss().run(context)) == {"first-loss": "fail"}


def test_equal_images_with_different_labels_cannot_be_memorised(make_context):
    context = make_context(features="last")
    experiment = context.experiment
    X = np.ones_like(experiment.matrices[experiment.backbone.name])
    matrices = {**experiment.matrices, experiment.backbone.name: X}
    context = CheckContext(
        dataclasses.replace(experiment, matrices=matrices), context.method, context.pictures
    )
    (result,) = Overfit().run(context)
    assert result.status == "fail"
    assert len(result.details) == 10
    assert {line["path"] for line in result.details} <= set(context.dataset.names)


@pytest.mark.parametrize(("lr", "words"), [(1e-9, "too low"), (90.0, "too high")])
def test_a_learning_rate_of_a_hidden_layer_far_outside(lr, words, make_context):
    context = make_context(head="mlp", lr=lr)
    result = found(context, "learning rate")
    assert result.status == "fail"
    assert words in result.meaning


# A network


@pytest.mark.parametrize(
    ("architecture", "strategy"),
    [
        ("test_resnet", "last-layers"),
        pytest.param("test_efficientnet", "last-layers", marks=pytest.mark.slow),
        pytest.param("test_resnet", "full", marks=pytest.mark.slow),
        pytest.param("test_convnext", "last-layers", marks=pytest.mark.slow),
        pytest.param("test_convnext", "full", marks=pytest.mark.slow),
        pytest.param("test_efficientnet", "full", marks=pytest.mark.slow),
    ],
)
def test_a_clean_network_passes(architecture, strategy, network, networks):
    context = network(strategy, networks(architecture))
    assert worst_by_check(run(context)) == {}
    drawn = {path.name for path in context.pictures.iterdir()}
    assert drawn == {"learning-rate.svg", "activations.svg"}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_a_pretrained_network_passes_with_the_learning_rates_that_are_tried(strategy, make_context):
    context = make_context(strategy=strategy, network="efficientnet_lite0")
    assert worst_by_check(run(context)) == {}


def test_batch_normalisations_may_use_the_batches(network):
    context = network("last-layers", bn="train")
    assert context.trainable.followed_statistics()
    assert worst_by_check(Frozen().run(context)) == {}


def test_a_loss_that_is_scaled(network, monkeypatch):
    true = Learner.update

    def scaled(self, *given):
        loss, correct, norm = true(self, *given)
        return 1.5 * loss, correct, norm

    monkeypatch.setattr(Learner, "update", scaled)
    assert worst_by_check(FirstLoss().run(network())) == {"first-loss": "fail"}


def test_a_classifier_with_weights_a_thousand_times_too_large(network, monkeypatch):
    monkeypatch.setattr(initial, "HEAD_SCALE", 1000 * initial.HEAD_SCALE)
    assert worst_by_check(FirstLoss().run(network())) == {"first-loss": "fail"}


def test_images_and_labels_that_do_not_belong_together(network, monkeypatch):
    true, rng = network_part.train, np.random.default_rng(0)

    class Mixed:
        def __init__(self, source):
            self.source = source

        def batch(self, rows, epoch):
            return self.source.batch(rng.permutation(rows), epoch)

    def train(job, *given, **more):
        return true(dataclasses.replace(job, source=Mixed(job.source)), *given, **more)

    monkeypatch.setattr(network_part, "train", train)
    monkeypatch.setattr(network_part, "EPOCHS", 30)  # a clean one needs fewer than ten
    assert worst_by_check(run(network())) == {"overfit": "fail"}


@pytest.mark.parametrize(("factor", "words"), [(1000, "too high"), (1e-3, "too low")])
def test_a_learning_rate_a_thousand_times_off(factor, words, network):
    (result, _) = LearningRate().run(network("last-layers", lr=factor * LR))
    assert result.status == "fail"
    assert words in result.meaning


def test_a_dead_layer(network, networks, tmp_path):
    folder = tmp_path / "dead"
    folder.mkdir()
    for path in networks().iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors["layer1.0.bn1.weight"] = torch.zeros_like(tensors["layer1.0.bn1.weight"])
    tensors["layer1.0.bn1.bias"] = torch.full_like(tensors["layer1.0.bn1.bias"], -1.0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    context = network(architecture=folder)
    results = [result for check in (FirstLoss(), Activations(), Frozen()) for result in check.run(context)]
    assert worst_by_check(results) == {"activations": "fail"}
    assert "layer1.0" in next(result.meaning for result in results if result.name == "layers")


def test_a_layer_that_was_not_frozen(network, monkeypatch):
    true = parts.freeze_all_but

    def too_many(network, trained, bn):
        true(network, trained | {"layer3.0.conv1.weight"}, bn)

    monkeypatch.setattr(parts, "freeze_all_but", too_many)
    result, _ = Frozen().run(network())
    assert result.status == "fail"
    assert [line["tensor"] for line in result.details] == ["layer3.0.conv1.weight"]


def test_a_normalisation_that_was_left_in_training_mode(network, monkeypatch):
    true = parts.freeze_all_but

    def forgetful(network, trained, bn):
        true(network, trained, bn)
        network.get_submodule("layer1.0.bn1").training = True

    monkeypatch.setattr(parts, "freeze_all_but", forgetful)
    result, other = Frozen().run(network())
    assert (result.status, other.status) == ("fail", "pass")
    assert {line["tensor"].rpartition(".")[0] for line in result.details} == {"layer1.0.bn1"}


def test_an_update_that_does_nothing(network, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    assert [result.status for result in Frozen().run(network())] == ["pass", "fail"]


# The pieces


def test_rows_are_drawn_from_the_classes_in_turn():
    labels = np.array([0] * 90 + [1] * 3 + [2] * 7)
    rows = draw(labels, 12, 0)
    assert np.bincount(labels[rows]).tolist() == [5, 3, 4] or np.bincount(labels[rows]).tolist() == [4, 3, 5]
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, draw(labels, 12, 0))
    assert len(draw(labels, 1000, 0)) == 100


@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_what_is_trained_has_the_gradient_of_its_loss(strategy, network):
    """Central differences in float64 along random directions (CS231n's notes, "Gradient checks")."""
    part = network(strategy).trainable
    part._start()
    given, labels = part._batch(part.rows(4))
    tail, given = part._bench.job.tail.double().cpu(), given.double()
    rng = torch.Generator().manual_seed(0)
    trained = [p for p in tail.parameters() if p.requires_grad]
    with torch.no_grad():  # behind a classifier near zero, all other gradients are near zero too
        for p in trained:
            p.add_(0.02 * torch.randn(p.shape, generator=rng, dtype=p.dtype))

    def loss():
        return torch.nn.functional.cross_entropy(tail(given), labels)

    gradient = torch.autograd.grad(loss(), trained)
    for _ in range(3):
        direction = [torch.randn(p.shape, generator=rng, dtype=p.dtype) * p.detach().norm() for p in trained]
        analytic = float(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)))
        errors = []
        for h in (1e-8, 1e-9, 1e-7):  # the best counts: longer steps meet kinks, shorter ones rounding
            values = []
            for sign in (1, -2, 1):
                with torch.no_grad():
                    for p, d in zip(trained, direction, strict=True):
                        p.add_(sign * h * d)
                values.append(float(loss().detach()))
            errors.append(abs((values[0] - values[1]) / (2 * h) - analytic) / abs(analytic))
        assert min(errors) < 1e-4
