"""One update, and a training made of them: what is added up, what is decayed, and what is never lost."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import Zoo
from torch import nn

from finetune.errors import TrainingError
from finetune.training import parts
from finetune.training.checkpoint import Leg
from finetune.training.learner import Diverged, Learner
from finetune.training.loop import Job, train
from finetune.training.network import build
from finetune.training.recipe import Recipe
from finetune.training.team import Team

N, CLASSES, SIDE = 17, 3, 6

#: Plain gradient descent at one rate.
DESCENT = Recipe(0.1, 1, N, "sgd", momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0, clip=0.0)


class Noise:
    """A source of small images; from some epoch on one of them may be spoilt."""

    def __init__(self, n=N, spoilt_from=None):
        self.x = torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        self.spoilt_from = spoilt_from

    def __len__(self):
        return len(self.x)

    def batch(self, rows, epoch):
        x = self.x[torch.from_numpy(rows)]
        if self.spoilt_from is not None and epoch is not None and epoch >= self.spoilt_from:
            x[0] = math.nan
        return x


def network(norm=False):
    """A convolution, and where asked for a normalisation that cannot do with one image."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)]
    layers[2:2] = [nn.BatchNorm2d(4)] if norm else []
    made = nn.Sequential(*layers)
    made.group_matcher = lambda coarse=False: {"stem": r"^0", "blocks": r"^(\d+)"}
    parts.freeze_all_but(made, parts.everything(made), "train")
    return made


def job(net, source=None, seed=0):
    source = source or Noise()
    return Job(net, net, source, np.arange(len(source)) % CLASSES, CLASSES, seed, Team(), print)


def go(net, recipe, source=None, leg=None, seed=0, **more):
    made = job(net, source, seed)
    return train(made, np.arange(len(made.source)), recipe, leg or Leg(None, 60), "", **more)


def learner(net, recipe, tail=None, weights=(1.0,) * CLASSES, updates=10, say=print):
    return Learner(net, tail or net, recipe, updates, np.array(weights), 0, Team(), say)


def values(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


class Counts(nn.Module):
    """Remembers how many images it was given at a time, and may lack memory for many."""

    def __init__(self, net, most=N):
        super().__init__()
        self.net, self.most, self.seen = net, most, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise MemoryError
        return self.net(x)


def one_update(recipe, norm=False, most=N, **more):
    """How far the parameters go in one update, how many images were seen at a time, and what was said."""
    net, said = network(norm), []
    counts = Counts(net, most)
    before = values(net)
    updates = learner(net, recipe, counts, say=said.append, **more)
    updates.update(Noise().batch(np.arange(N), 0), torch.arange(N) % CLASSES, 0, N)
    return values(net) - before, counts.seen, said


# A batch


def test_an_update_follows_the_written_out_gradient():
    """Smoothed, weighted cross-entropy: a share of the label spread over all classes, each class weighted."""
    weights, share = torch.tensor([0.5, 1.0, 2.0]), 0.2
    net = network()
    y = torch.arange(N) % CLASSES
    log_p = F.log_softmax(net(Noise().x), dim=1)
    target = (1 - share) * F.one_hot(y, CLASSES) + share / CLASSES
    loss = (weights[y] * -(target * log_p).sum(dim=1)).mean()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    moved, _, _ = one_update(dataclasses.replace(DESCENT, smoothing=share), weights=weights.tolist())
    assert (moved + 0.1 * gradient).norm() < 1e-5 * moved.norm()


@pytest.mark.parametrize("more", [{}, {"smoothing": 0.1}, {"optimizer": "adamw"}, {"clip": 0.01}], ids=str)
def test_a_batch_in_parts_moves_parameters_as_a_whole_one(more):
    recipe = dataclasses.replace(DESCENT, **more)
    whole, seen, _ = one_update(recipe, weights=(0.5, 1.0, 1.5))
    apart, seen_apart, _ = one_update(dataclasses.replace(recipe, accumulate=4), weights=(0.5, 1.0, 1.5))
    assert seen == [N]
    assert sorted(seen_apart) == [4, 4, 4, 5]
    assert (whole - apart).norm() < 1e-5 * whole.norm()


def test_a_long_gradient_is_cut_to_the_clip():
    moved, _, _ = one_update(dataclasses.replace(DESCENT, clip=0.01))
    assert moved.norm() == pytest.approx(0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize("most", [9, 5, 2])
def test_lacking_memory_halves_the_batch_and_changes_nothing_else(most):
    whole, _, _ = one_update(DESCENT)
    halved, seen, said = one_update(DESCENT, most=most)
    assert (whole - halved).norm() < 1e-5 * whole.norm()
    failures = sum(n > most for n in seen)
    assert len(said) == failures > 0
    assert f"in {2**failures} parts" in said[-1] or f"in {N} parts" in said[-1]


def test_a_normalisation_by_the_batch_is_never_given_one_image():
    many = dataclasses.replace(DESCENT, accumulate=N, bn="train")
    moved, seen, _ = one_update(many, norm=True)
    assert min(seen) == 2
    assert sum(seen) == N
    assert torch.isfinite(moved).all()


def test_parts_are_halved_no_further_than_to_what_can_be_normalised_by():
    said = []
    updates = learner(net := network(norm=True), DESCENT, Counts(net, most=1), say=said.append)
    with pytest.raises(TrainingError, match="not enough memory"):
        updates.update(Noise().batch(np.arange(N), 0), torch.arange(N) % CLASSES, 0, N)
    assert [line.split(" parts")[0].split()[-1] for line in said] == ["2", "4", "8"]


@pytest.mark.parametrize("n", [9, 17])
def test_a_last_batch_of_one_image_is_no_trouble(n):
    net = network(norm=True)
    outcome = go(net, Recipe(0.01, 2, 8, bn="train"), Noise(n))
    assert [math.isfinite(line["loss"]) for line in outcome.log] == [True, True]
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())


# What the parameters do besides following the gradient


def without_gradient(recipe):
    """Parameters before and after an update on a loss that does not depend on them."""
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    updates = learner(net, recipe)
    for p in net.parameters():
        p.register_hook(torch.zeros_like)
    updates.update(Noise().batch(np.arange(N), 0), torch.arange(N) % CLASSES, 0, N)
    return before, dict(net.named_parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_shrinks_weights_and_leaves_biases_alone(optimizer):
    before, after = without_gradient(dataclasses.replace(DESCENT, optimizer=optimizer, weight_decay=0.5))
    for name, value in before.items():
        factor = 1 - 0.1 * 0.5 if name.endswith("weight") else 1
        torch.testing.assert_close(after[name].detach(), factor * value)


def test_earlier_stages_go_shorter_ways(tmp_path):
    """Under Adam's first update every parameter moves by its own rate, whatever its gradient."""
    net = build(Zoo(tmp_path)("test_resnet"), CLASSES, 0)
    parts.freeze_all_but(net, parts.everything(net), "frozen")
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    recipe = dataclasses.replace(DESCENT, rate=1e-3, optimizer="adamw", layer_decay=0.5)
    updates = learner(net, recipe)
    updates.update(torch.randn(4, 3, 64, 64), torch.arange(4) % CLASSES, 0, 4)
    names = ("conv1.0.weight", "layer1.0.conv1.weight", "layer3.0.conv1.weight", "fc.weight")
    steps = [float((net.get_parameter(name).detach() - before[name]).abs().median()) for name in names]
    assert steps == sorted(set(steps))
    assert steps[-1] == pytest.approx(1e-3, rel=0.02)
    assert steps[0] < steps[-1] / 8


def rates(updates=40, **more):
    """The rate of each update."""
    net = network()
    made = learner(net, dataclasses.replace(DESCENT, rate=0.01, **more), updates=updates)
    found = []
    for step in range(updates):
        made.update(Noise().batch(np.arange(4), 0), torch.arange(4) % CLASSES, step, 4)
        found.append(made.rate)
    return np.array(found)


def test_a_cosine_is_half_of_one():
    wanted = 0.01 * 0.5 * (1 + np.cos(np.pi * np.arange(40) / 40))
    np.testing.assert_allclose(rates(schedule="cosine"), wanted, rtol=1e-6)


def test_steps_are_tenths_after_each_third():
    found = rates(30, schedule="step")
    np.testing.assert_allclose(found, np.repeat([0.01, 0.001, 0.0001], 10), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_a_warm_up_rises_from_above_zero_and_is_as_long_as_asked(schedule):
    found = rates(schedule=schedule, warmup=0.25)
    assert found[0] == pytest.approx(0.01 / 11)
    assert (np.diff(found[:10]) > 0).all()
    assert (np.diff(found[10:]) <= 0).all()
    assert 0.009 < found.max() <= 0.01 * (1 + 1e-6)


def test_the_average_is_that_of_all_updates_and_is_what_is_left():
    recipe = dataclasses.replace(DESCENT, batch=5, epochs=3, ema=0.8)
    averaged = network()
    go(averaged, recipe)

    plain, states = network(), []
    recipe = dataclasses.replace(recipe, ema=0.0)
    made = learner(plain, recipe, updates=12)
    average = values(plain)
    for epoch in range(3):
        order = np.random.default_rng([0, 1, epoch]).permutation(np.arange(N))
        for i in range(4):
            rows = order[5 * i : 5 * i + 5]
            made.update(Noise().batch(rows, epoch), torch.from_numpy(rows % CLASSES), len(states), len(rows))
            decay = min(0.8, (1 + len(states)) / (10 + len(states)))
            states.append(values(plain))
            average = decay * average + (1 - decay) * states[-1]
    torch.testing.assert_close(values(averaged), average)
    assert not torch.allclose(values(averaged), states[-1])


@pytest.mark.parametrize(
    "mixed", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "smoothing": 0.1}], ids=str
)
def test_mixed_pictures_belong_to_two_classes_by_share(mixed):
    made = learner(network(), dataclasses.replace(DESCENT, **mixed))
    x, y = Noise(16).x, torch.arange(16) % CLASSES
    target = made._target(x.clone(), y, 3)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(16))
    unmixed = 1 - mixed.get("smoothing", 0.0)
    assert (target.max(dim=1).values < unmixed).any()
    given = x.clone()
    torch.testing.assert_close(made._target(given, y, 3), target)  # of the step, and of nothing else
    assert not torch.equal(given, x)


# Classes


def drawn(sampling):
    """How often each class is drawn in an epoch."""
    seen = []

    class Remembers(Noise):
        def batch(self, rows, epoch):
            seen.extend(rows if epoch is not None else [])
            return super().batch(rows, epoch)

    n = 600
    labels = np.repeat([0, 1, 2], [500, 80, 20])
    net = network()
    made = Job(net, net, Remembers(n), labels, CLASSES, 0, Team(), print)
    train(made, np.arange(n), dataclasses.replace(DESCENT, batch=100, sampling=sampling), Leg(None, 60), "")
    return np.bincount(labels[seen], minlength=CLASSES)


def test_balanced_sampling_draws_every_class_as_often():
    assert drawn("none").tolist() == [500, 80, 20]
    balanced = drawn("balanced")
    assert balanced.sum() == 600
    assert (np.abs(balanced - 200) < 5 * math.sqrt(600 * 2 / 9)).all()


def test_balanced_weights_average_one_over_the_images(monkeypatch):
    given = []
    plain = Learner.__init__

    def remember(self, network, tail, recipe, updates, class_weights, *rest):
        given.append(class_weights)
        plain(self, network, tail, recipe, updates, class_weights, *rest)

    monkeypatch.setattr(Learner, "__init__", remember)
    labels = np.repeat([0, 1, 2], [11, 5, 1])
    net = network()
    made = Job(net, net, Noise(), labels, CLASSES, 0, Team(), print)
    train(made, np.arange(N), dataclasses.replace(DESCENT, class_weight="balanced"), Leg(None, 60), "")
    (weights,) = given
    assert weights[labels].mean() == pytest.approx(1)
    np.testing.assert_allclose(weights * np.bincount(labels), N / CLASSES)


# Lost


def test_what_is_not_finite_leaves_parameters_and_optimiser_as_they_were():
    net = network()
    made = learner(net, dataclasses.replace(DESCENT, optimizer="adamw"))
    made.update(Noise().batch(np.arange(N), 0), torch.arange(N) % CLASSES, 0, N)
    before = {name: tensor.clone() for name, tensor in made.state().items()}
    with pytest.raises(Diverged, match=r"not finite after 1 updates.*--rate"):
        made.update(Noise(spoilt_from=0).batch(np.arange(N), 0), torch.arange(N) % CLASSES, 1, N)
    after = made.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_last_good_state_is_kept_and_can_be_gone_on_from(tmp_path):
    recipe = dataclasses.replace(DESCENT, batch=6, epochs=4)
    leg = Leg(tmp_path / "leg.safetensors", 60)
    with pytest.raises(Diverged):
        go(network(), recipe, Noise(spoilt_from=2), leg)
    tensors, progress = leg.read()
    assert progress["epoch"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    healed, straight = network(), network()
    go(healed, recipe, leg=leg)
    go(straight, recipe)
    assert torch.equal(values(healed), values(straight))


def test_a_rising_loss_is_named_with_both_values():
    recipe = dataclasses.replace(DESCENT, rate=90.0, epochs=50)
    with pytest.raises(Diverged, match=r"rose from \d\S* to \d\S* in \d+ updates. Try a lower --rate"):
        go(network(), recipe)


# How long


def test_it_ends_when_it_gets_no_better_and_knows_which_epoch_was_best():
    recipe = dataclasses.replace(DESCENT, rate=0.3, epochs=90, patience=3, batch=10)
    made = job(network(), Noise(40))
    rows = np.arange(40)
    outcome = train(made, rows[:30], recipe, Leg(None, 60), "", validation=rows[30:])
    losses = [line["validation_loss"] for line in outcome.log]
    assert outcome.best == int(np.argmin(losses)) + 1
    assert len(losses) == outcome.best + 3 < 90
    assert outcome.judged == min(losses)


def test_a_hopeless_training_is_given_up():
    outcome = go(network(), dataclasses.replace(DESCENT, epochs=9), hopeless=lambda log: len(log) == 2)
    assert outcome.epoch == 2


def test_the_schedule_is_that_of_all_epochs_where_fewer_are_done():
    recipe = dataclasses.replace(DESCENT, epochs=10, schedule="cosine")
    long, short = go(network(), recipe), go(network(), recipe, until=4)
    assert [line["rate"] for line in short.log] == [line["rate"] for line in long.log[:4]]


def test_without_patience_the_whole_schedule_is_gone_through():
    recipe = dataclasses.replace(DESCENT, rate=0.3, epochs=30, batch=10)
    rows = np.arange(40)
    whole, impatient = (
        train(job(network(), Noise(40)), rows[:30], r, Leg(None, 60), "", validation=rows[30:])
        for r in (recipe, dataclasses.replace(recipe, patience=3))
    )
    assert impatient.epoch < whole.epoch == 30
