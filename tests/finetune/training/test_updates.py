"""One update, and a training made of them: what is added up, what is decayed, and what is never lost."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import DESCENT as PLAIN
from networks import with_
from torch import nn

from finetune.errors import TrainingError
from finetune.training import parts
from finetune.training.checkpoint import Checkpoint
from finetune.training.learner import Diverged, Learner
from finetune.training.loop import Job, _chunks, train
from finetune.training.network import build, depthwise_in_fp32
from finetune.training.sources import Activations
from finetune.training.team import Team

N, CLASSES, SIDE = 17, 3, 6

DESCENT = with_(PLAIN, batch_size=N)


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
    """A convolution, perhaps with a normalisation, which cannot do with one image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _network(norm)


def _network(norm):
    layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)]
    layers[2:2] = [nn.BatchNorm2d(4)] if norm else []
    made = nn.Sequential(*layers)
    made.group_matcher = lambda coarse=False: {"stem": r"^0", "blocks": r"^(\d+)"}
    parts.freeze_all_but(made, parts.everything(made), "train")
    return made


def job(net, source=None, seed=0):
    source = source or Noise()
    return Job(net, net, source, np.arange(len(source)) % CLASSES, CLASSES, seed, Team())


def go(net, options, source=None, checkpoint=None, seed=0, **more):
    made = job(net, source, seed)
    return train(made, np.arange(len(made.source)), options, checkpoint or Checkpoint(), "", **more)


def learner(net, options, tail=None, weights=(1.0,) * CLASSES, updates=10):
    return Learner(net, tail or net, options, updates, np.array(weights), 0, Team())


def values(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


class Counts(nn.Module):
    """Records how many images it is given at a time, and may lack memory for many."""

    def __init__(self, net, most=N):
        super().__init__()
        self.net, self.most, self.seen = net, most, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise MemoryError
        return self.net(x)


def one_update(options, norm=False, **more):
    """How far the parameters go in one update, and how many images were seen at a time."""
    net = network(norm)
    counts = Counts(net)
    before = values(net)
    learner(net, options, counts, **more).update(*batch(), 0, N)
    return values(net) - before, counts.seen


def batch(n=N, spoilt_from=None):
    return Noise(n, spoilt_from).batch(np.arange(n), 0), torch.arange(n) % CLASSES


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
    moved, _ = one_update(with_(DESCENT, label_smoothing=share), weights=weights.tolist())
    assert (moved + 0.1 * gradient).norm() < 1e-5 * moved.norm()


@pytest.mark.parametrize(
    "more", [{}, {"label_smoothing": 0.1}, {"opt": "adamw"}, {"clip_grad": 0.01}], ids=str
)
def test_a_batch_in_parts_moves_parameters_as_a_whole_one(more):
    options = with_(DESCENT, **more)
    whole, seen = one_update(options, weights=(0.5, 1.0, 1.5))
    apart, seen_apart = one_update(with_(options, grad_accum_steps=4), weights=(0.5, 1.0, 1.5))
    assert seen == [N]
    assert sorted(seen_apart) == [4, 4, 4, 5]
    assert (whole - apart).norm() < 1e-5 * whole.norm()


def test_a_long_gradient_is_cut_to_the_clip():
    moved, _ = one_update(with_(DESCENT, clip_grad=0.01))
    assert moved.norm() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_without_memory_for_a_batch_the_next_step_is_said_and_the_batch_is_not_divided():
    net = network()
    before = values(net).clone()
    updates = learner(net, DESCENT, Counts(net, most=9))
    with pytest.raises(TrainingError, match=r"memory for a batch of 17 images.*--grad-accum-steps 2"):
        updates.update(*batch(), 0, N)
    assert torch.equal(values(net), before)
    learner(net, with_(DESCENT, grad_accum_steps=2), Counts(net, most=9)).update(*batch(), 0, N)
    assert not torch.equal(values(net), before)


def test_a_normalisation_by_the_batch_is_never_given_one_image():
    many = with_(DESCENT, grad_accum_steps=N, bn="train")
    moved, seen = one_update(many, norm=True)
    assert min(seen) == 2
    assert sum(seen) == N
    assert torch.isfinite(moved).all()


@pytest.mark.parametrize("n", [9, 17])
def test_a_last_batch_of_one_image_is_no_trouble(n):
    net = network(norm=True)
    outcome = go(net, with_(DESCENT, lr=0.01, epochs=2, batch_size=8, bn="train"), Noise(n))
    assert [math.isfinite(line["loss"]) for line in outcome.log] == [True, True]
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())


# What the parameters do besides following the gradient


def without_gradient(options):
    """Parameters before and after an update on a loss that does not depend on them."""
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    updates = learner(net, options)
    for p in net.parameters():
        p.register_hook(torch.zeros_like)
    updates.update(*batch(), 0, N)
    return before, dict(net.named_parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_shrinks_weights_and_leaves_biases_alone(optimizer):
    before, after = without_gradient(with_(DESCENT, opt=optimizer, weight_decay=0.5))
    for name, value in before.items():
        factor = 1 - 0.1 * 0.5 if name.endswith("weight") else 1
        torch.testing.assert_close(after[name].detach(), factor * value)


def test_earlier_stages_go_shorter_ways(small_networks):
    """Under Adam's first update every parameter moves by its own rate, whatever its gradient."""
    net = build(small_networks("test_resnet"), CLASSES, 0)
    parts.freeze_all_but(net, parts.everything(net), "frozen")
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    options = with_(DESCENT, lr=1e-3, opt="adamw", layer_decay=0.5)
    updates = learner(net, options)
    updates.update(torch.randn(4, 3, 64, 64), torch.arange(4) % CLASSES, 0, 4)
    names = ("conv1.0.weight", "layer1.0.conv1.weight", "layer3.0.conv1.weight", "fc.weight")
    steps = [float((net.get_parameter(name).detach() - before[name]).abs().median()) for name in names]
    assert steps == sorted(set(steps))
    assert steps[-1] == pytest.approx(1e-3, rel=0.02)
    assert steps[0] < steps[-1] / 8


def rates(updates=40, **more):
    """The rate of each update."""
    net = network()
    made = learner(net, with_(DESCENT, lr=0.01, **more), updates=updates)
    found = []
    for step in range(updates):
        made.update(*batch(4), step, 4)
        found.append(made.lr)
    return np.array(found)


def test_a_cosine_is_half_of_one():
    wanted = 0.01 * 0.5 * (1 + np.cos(np.pi * np.arange(40) / 40))
    np.testing.assert_allclose(rates(sched="cosine"), wanted, rtol=1e-6)


def test_steps_are_tenths_after_each_third():
    found = rates(30, sched="step")
    np.testing.assert_allclose(found, np.repeat([0.01, 0.001, 0.0001], 10), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_a_warm_up_rises_from_above_zero_and_is_as_long_as_asked(schedule):
    found = rates(sched=schedule, warmup_ratio=0.25)
    assert found[0] == pytest.approx(0.01 / 11)
    assert (np.diff(found[:10]) > 0).all()
    assert (np.diff(found[10:]) <= 0).all()
    assert 0.009 < found.max() <= 0.01 * (1 + 1e-6)


def test_the_average_is_that_of_all_updates_and_is_what_is_left():
    options = with_(DESCENT, batch_size=5, epochs=3, model_ema_decay=0.8)
    averaged = network()
    go(averaged, options)

    plain, states = network(), []
    options = with_(options, model_ema_decay=0.0)
    made = learner(plain, options, updates=12)
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
    made = Job(net, net, Remembers(n), labels, CLASSES, 0, Team())
    train(made, np.arange(n), with_(DESCENT, batch_size=100, sampling=sampling), Checkpoint(), "")
    return np.bincount(labels[seen], minlength=CLASSES)


def test_balanced_sampling_draws_every_class_as_often():
    assert drawn("none").tolist() == [500, 80, 20]
    balanced = drawn("balanced")
    assert balanced.sum() == 600
    assert (np.abs(balanced - 200) < 5 * math.sqrt(600 * 2 / 9)).all()


def test_balanced_weights_let_every_class_count_the_same():
    """Eleven, five and one image: the loss is the mean over the classes of each one's mean loss."""
    labels = np.repeat([0, 1, 2], [11, 5, 1])
    net, plain = network(), network()
    train(Job(net, net, Noise(), labels, CLASSES, 0, Team()), np.arange(N),
          with_(DESCENT, class_weight="balanced"), Checkpoint(), "")  # fmt: skip
    each = F.cross_entropy(plain(Noise().x), torch.from_numpy(labels), reduction="none")
    loss = sum(each[torch.from_numpy(labels == c)].mean() for c in range(CLASSES)) / CLASSES
    gradients = torch.autograd.grad(loss, list(plain.parameters()))
    wanted = torch.cat([(p - 0.1 * g).flatten() for p, g in zip(plain.parameters(), gradients, strict=True)])
    torch.testing.assert_close(values(net), wanted.detach())


# Diverged


def test_a_gradient_that_is_not_finite_changes_nothing():
    net = network()
    made = learner(net, with_(DESCENT, opt="adamw"))
    made.update(*batch(), 0, N)
    before = {name: tensor.clone() for name, tensor in made.state().items()}
    with pytest.raises(Diverged, match=r"not finite after 1 updates.*--lr"):
        made.update(*batch(spoilt_from=0), 1, N)
    after = made.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_last_good_state_is_kept_and_can_be_continued_from(tmp_path):
    options = with_(DESCENT, batch_size=6, epochs=4)
    checkpoint = Checkpoint(tmp_path / "one.safetensors")
    with pytest.raises(Diverged):
        go(network(), options, Noise(spoilt_from=2), checkpoint)
    tensors, progress = checkpoint.read()
    assert progress["epoch"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    healed, straight = network(), network()
    go(healed, options, checkpoint=checkpoint)
    go(straight, options)
    assert torch.equal(values(healed), values(straight))


def test_a_rising_loss_is_named_with_both_values():
    options = with_(DESCENT, lr=90.0, epochs=50)
    with pytest.raises(Diverged, match=r"rose from \d\S* to \d\S* in \d+ updates. Try a lower --lr"):
        go(network(), options)


# How long


def validated(options, n=40):
    made = job(network(), Noise(n))
    rows = np.arange(n)
    return train(made, rows[:30], options, Checkpoint(), "", validation=rows[30:])


def test_with_patience_it_ends_that_many_epochs_after_the_best():
    options = with_(DESCENT, lr=0.3, epochs=90, batch_size=10)
    impatient = validated(with_(options, patience=3))
    losses = [line["validation_loss"] for line in impatient.log]
    assert len(losses) == int(np.argmin(losses)) + 1 + 3 < 90
    assert validated(with_(options, epochs=30)).epoch == 30


def test_it_stops_where_it_is_told_to():
    outcome = go(network(), with_(DESCENT, epochs=9), stop=lambda log: len(log) == 2)
    assert outcome.epoch == 2


def test_the_schedule_is_that_of_all_epochs_where_fewer_are_done():
    options = with_(DESCENT, epochs=10, sched="cosine")
    long, short = go(network(), options), go(network(), options, until=4)
    assert [line["lr"] for line in short.log] == [line["lr"] for line in long.log[:4]]


def test_an_average_is_what_is_left_where_a_training_is_stopped_early():
    options = with_(DESCENT, epochs=9, batch_size=5, model_ema_decay=0.9)
    by_rule, by_number = network(), network()
    go(by_rule, options, stop=lambda log: len(log) == 2)
    go(by_number, options, until=2)
    assert torch.equal(values(by_rule), values(by_number))


# The process


def test_random_generators_are_as_they_were():
    """Dropout is drawn from the seed for each update; the generators of others stay as they were."""
    state, theirs = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    results = []
    for draws in (0, 3):
        torch.rand(draws)
        state = torch.get_rng_state()
        net = nn.Sequential(*network(), nn.Dropout(0.5))
        net.group_matcher = lambda coarse=False: {"all": r"."}
        learner(net, with_(DESCENT, mixup=0.4, cutmix=1.0)).update(*batch(), 0, N)
        assert torch.equal(torch.get_rng_state(), state)
        results.append(values(net))
    assert torch.equal(*results)
    assert (np.random.get_state()[1] == theirs).all()  # noqa: NPY002


# Pieces


def test_a_last_batch_of_one_joins_the_one_before_where_it_is_normalised_by():
    rows = np.arange(17)
    assert [len(chunk) for chunk in _chunks(rows, with_(DESCENT, batch_size=8, bn="train"), Team())] == [8, 9]
    assert [len(chunk) for chunk in _chunks(rows, with_(DESCENT, batch_size=8), Team())] == [8, 8, 1]


def test_rows_start_with_different_views_and_see_all():
    views = [np.full((5, 4), number, np.float32) for number in range(3)]
    source = Activations(views, (4, 1, 1), 0)
    seen = np.stack([source.batch(np.arange(5), epoch)[:, 0, 0, 0].numpy() for epoch in range(3)])
    assert (np.sort(seen, axis=0) == np.arange(3)[:, None]).all()
    assert (source.batch(np.arange(5), None) == 0).all()


def test_depthwise_convolutions_stay_fp32_under_autocast(small_networks, monkeypatch):
    net = build(small_networks("test_efficientnet"), 2, 0)
    seen, x = set(), torch.randn(2, 3, 64, 64)

    def computes(self, given, weight, bias):
        out = plain(self, given, weight, bias)
        seen.add((self.groups > 1, out.dtype))
        return out

    plain = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", computes)
    with depthwise_in_fp32(net), torch.autocast("cpu", torch.bfloat16):
        out = net(x)
        assert torch.is_autocast_enabled("cpu")
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    assert torch.isfinite(out).all()
    assert not any(module._forward_pre_hooks for module in net.modules())
