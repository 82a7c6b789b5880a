"""Mixtures of two inputs count for the classes of both, by shares computed by hand."""

import math

import numpy as np
import pytest
import torch
from networks import DESCENT, small_network, with_

from finetune.training import parts
from finetune.training.learner import Learner
from finetune.training.mixing import Mixed, mix
from finetune.training.team import Team

EVERYTHING = slice(None)


def given(n, seed=0):
    x = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(n) % 2


def test_the_loss_is_computed_by_hand():
    """One input is 0.7 of class 0 and 0.3 of class 1; class 1 weighs twice as much, smoothing is 0.1.

    Of scores (ln 4, 0) the probabilities are 0.8 and 0.2. With smoothing, the loss of class 0 is
    -(0.95 ln 0.8 + 0.05 ln 0.2) and that of class 1 -(0.05 ln 0.8 + 0.95 ln 0.2).
    """
    scores = torch.tensor([[math.log(4), 0.0]])
    batch = Mixed(torch.zeros(1, 3, 1, 1), torch.tensor([0]), torch.tensor([1]), 0.7)
    zero = -(0.95 * math.log(0.8) + 0.05 * math.log(0.2))
    one = -(0.05 * math.log(0.8) + 0.95 * math.log(0.2))
    (loss,) = batch.losses(scores, EVERYTHING, torch.tensor([1.0, 2.0]), 0.1)
    assert float(loss) == pytest.approx(0.7 * zero + 0.3 * 2 * one)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_mixup_averages_each_input_with_the_one_at_the_mirrored_place(n):
    x, y = given(n)
    mixed = mix(x, y, 0.4, 0.0, np.random.default_rng(3))
    torch.testing.assert_close(mixed.inputs, mixed.share * x + (1 - mixed.share) * x.flip(0))
    assert torch.equal(mixed.labels, y)
    assert torch.equal(mixed.partners, y.flip(0))
    assert 0 < mixed.share < 1


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_shares_are_those_of_the_pixels(seed):
    x = torch.zeros(3, 3, 8, 8)
    x[0] = 1
    mixed = mix(x, torch.tensor([0, 1, 1]), 0.0, 1.0, np.random.default_rng(seed))
    assert float(mixed.inputs[0].mean()) == pytest.approx(mixed.share)
    assert float(mixed.inputs[2].mean()) == pytest.approx(1 - mixed.share)
    assert set(mixed.inputs[0].unique().tolist()) <= {0.0, 1.0}
    assert float(x[0].mean()) == 1  # the input itself is not changed


def test_without_alpha_nothing_is_mixed():
    x, y = given(4)
    mixed = mix(x, y, 0.0, 0.0, np.random.default_rng(0))
    assert mixed.share == 1
    assert torch.equal(mixed.inputs, x)


def test_an_odd_batch_is_mixed_too_and_parts_of_it_add_up():
    """Class weights and smoothing act on both classes, also where a batch is computed in parts."""
    options = with_(DESCENT, mixup=0.4, label_smoothing=0.1)
    moved = []
    for steps in (1, 3):
        net = small_network(norm=False)
        parts.freeze_all_but(net, parts.everything(net), "frozen")
        before = torch.cat([p.detach().flatten() for p in net.parameters()])
        x, y = given(7)
        learner = Learner(
            net, net, with_(options, grad_accum_steps=steps), 10, np.array([0.5, 1.5]), 0, Team()
        )
        loss, _, _ = learner.update(x, y, 0, 7)
        moved.append(torch.cat([p.detach().flatten() for p in net.parameters()]) - before)
        fresh = small_network(norm=False)
        mixed = mix(x, y, 0.4, 0.0, np.random.default_rng([0, 5, 0]))
        log_p = torch.log_softmax(fresh(mixed.inputs), dim=1)
        weights = torch.tensor([0.5, 1.5])

        def smoothed(labels, log_p=log_p, weights=weights):
            target = 0.9 * torch.nn.functional.one_hot(labels, 2) + 0.05
            return weights[labels] * -(target * log_p).sum(dim=1)

        wanted = mixed.share * smoothed(y) + (1 - mixed.share) * smoothed(y.flip(0))
        assert loss == pytest.approx(float(wanted.sum().detach()), rel=1e-5)
    torch.testing.assert_close(*moved)
