"""The choice among candidates, and the correction of what it flatters."""

import numpy as np
import pytest

from finetune.evaluation.selection import choose_candidate, corrected_accuracy


def test_a_cheaper_candidate_that_cannot_be_told_apart_is_taken():
    rng = np.random.default_rng(0)
    base = rng.exponential(0.5, 200)
    noisy = base + rng.normal(0, 0.3, 200) + 0.005
    worse = base + 0.3 + rng.normal(0, 0.3, 200)
    losses = np.stack([base, noisy, worse])
    assert choose_candidate(losses, np.array([3.0, 2.0, 1.0])) == 1
    assert choose_candidate(losses, np.array([1.0, 2.0, 0.5])) == 0


def test_groups_make_a_difference_less_certain():
    """Ten images of one thing tell as much as one: what looked better by two errors is then within one."""
    gain = np.repeat(
        np.tile([1.2, -0.8], 6), 10
    )  # 0.2 on average; its error is 0.09 of images, 0.3 of groups
    losses = np.stack([np.full(120, 2.0), 2.0 - gain])
    costs = np.array([1.0, 2.0])
    assert choose_candidate(losses, costs) == 1
    assert choose_candidate(losses, costs, np.repeat(np.arange(12), 10)) == 0


def null_study(seed, accuracy=0.8, n=150, m=20, shared=0.5):
    """Predictions of candidates that are all equally good, and agree more than by chance."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    latent = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=(m, n))
    limit = np.quantile(np.random.default_rng(0).normal(size=100_000), accuracy)
    correct = latent < limit
    return np.log1p(np.exp(2 * (latent - limit))), correct


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_without_any_difference_the_corrected_accuracy_is_right(shared):
    """Over 200 studies of 20 equal candidates: the mean error is within 1 point, uncorrected it is not."""
    before, after = [], []
    costs = np.ones(20)
    for seed in range(200):
        losses, correct = null_study(seed, shared=shared)
        chosen = choose_candidate(losses, costs)
        found = corrected_accuracy(losses, correct, costs, chosen, draws=60, random_state=seed)
        before.append(found.uncorrected - 0.8)
        after.append(found.accuracy - 0.8)
    assert np.mean(before) > 0.015
    assert abs(np.mean(after)) <= 0.01


def test_a_clear_winner_is_hardly_corrected():
    rng = np.random.default_rng(0)
    correct = np.stack([rng.random(300) < p for p in (0.95, 0.7, 0.6)])
    losses = np.where(correct, 0.1, 2.0)
    found = corrected_accuracy(losses, correct, np.ones(3), 0)
    assert found.uncorrected - found.accuracy < 0.005
    assert found.ci95[0] < found.accuracy < found.ci95[1]


def test_groups_are_drawn_whole():
    """All images of a group alike: with few groups the correction is that of few images."""
    rng = np.random.default_rng(3)
    by_group = rng.random((12, 15)) < 0.7
    correct = np.repeat(by_group, 8, axis=1)
    losses = np.where(correct, 0.2, 1.5)
    groups = np.repeat(np.arange(15), 8)
    alone, grouped = (
        corrected_accuracy(losses, correct, np.ones(12), choose_candidate(losses, np.ones(12)), g)
        for g in (None, groups)
    )
    assert grouped.accuracy < alone.accuracy - 0.02
