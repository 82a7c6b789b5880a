"""Intervals keep their promise in simulated studies, with groups and without."""

import time

import numpy as np
import pytest
from scipy import stats
from studies import correlated_groups

from finetune.evaluation import accuracy_interval, wilson
from finetune.evaluation.intervals import _bca_tails, _bootstrap, count_groups, linearised_variance


def test_wilson_by_hand_and_at_the_ends():
    # 145 of 153: centre (p + z^2/2n) / (1 + z^2/n) = .93675, half width .03652
    assert wilson(145, 153) == pytest.approx((0.90022, 0.97327), abs=1e-5)
    assert wilson(0, 9)[0] == 0
    assert wilson(9, 9)[1] == 1
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 40), (7, 9), (145, 153), (4990, 5000)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_wilson_is_scipys(successes, n, level):
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_covers_the_truth_in_simulated_studies():
    rng = np.random.default_rng(0)
    truths, sizes = rng.uniform(0.5, 0.99, 1000), rng.integers(50, 501, 1000)
    inside = 0
    for p, n, hits in zip(truths, sizes, rng.binomial(sizes, truths), strict=True):
        lo, hi = wilson(int(hits), int(n))
        inside += lo <= p <= hi
    assert inside >= 930


@pytest.mark.parametrize(("successes", "n", "level"), [(2, 1, 0.95), (-1, 1, 0.95), (1, 2, 0), (1, 2, 1)])
def test_wilson_refuses_what_is_no_proportion(successes, n, level):
    with pytest.raises(ValueError, match=r"successes|level"):
        wilson(successes, n, level)


@pytest.mark.parametrize("groups", [None, np.arange(20), list("abcdefghijklmnopqrst")])
def test_images_that_stand_alone_get_wilsons_interval(groups):
    found = accuracy_interval([True] * 18 + [False] * 2, groups)
    assert found.ci95 == wilson(18, 20)
    assert (found.accuracy, found.method, found.n_groups, found.n_effective) == (0.9, "wilson", None, None)


SETTINGS = [(g, p, r) for g in (8, 15, 30, 60, 150) for p in (0.6, 0.9, 0.95) for r in (0, 0.3, 0.8, 1)]


#: Those where an interval fails first: few groups, high accuracies, images that are alike; and the easy end.
HARDEST = [(g, p, r) for g in (8, 30, 150) for p in (0.6, 0.95) for r in (0, 0.8)]


@pytest.mark.parametrize("settings", [HARDEST, pytest.param(SETTINGS, marks=pytest.mark.slow)], ids=len)
def test_with_correlated_groups_the_interval_covers_the_truth_in_simulated_studies(settings):
    """At least 93% over all settings, and nowhere clearly below."""
    rng = np.random.default_rng(0)
    inside = {}
    for n_groups, truth, correlation in settings:
        studies = [correlated_groups(rng, n_groups, truth, correlation) for _ in range(30)]
        ends = [accuracy_interval(correct, groups).ci95 for correct, groups in studies]
        inside[n_groups, truth, correlation] = np.mean([lo <= truth <= hi for lo, hi in ends])
    assert np.mean(list(inside.values())) >= 0.93
    for n_groups in {n_groups for n_groups, _, _ in settings}:
        assert np.mean([share for setting, share in inside.items() if setting[0] == n_groups]) >= 0.93
    # 30 studies with a coverage of 93% hold the truth fewer than 23 times in 1 case of 1,000.
    assert min(inside.values()) >= 23 / 30


def test_the_bootstrap_alone_would_not_cover_the_truth():
    """Why it is widened: 15 groups, and nine images of ten right."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        counts = count_groups(*correlated_groups(rng, 15, 0.9, 0.8))
        values = _bootstrap(counts, 2000, rng)
        lo, hi = np.quantile(values, _bca_tails(counts, values))
        inside += lo <= 0.9 <= hi
    assert inside < 0.88 * 300


def test_ignoring_the_groups_would_not_cover_the_truth():
    rng = np.random.default_rng(0)
    studies = [correlated_groups(rng, 60, 0.8, 0.8)[0] for _ in range(200)]
    ends = [wilson(int(correct.sum()), len(correct)) for correct in studies]
    assert np.mean([lo <= 0.8 <= hi for lo, hi in ends]) < 0.75


def test_bca_equals_scipy():
    counts = count_groups(*correlated_groups(np.random.default_rng(3), 40, 0.8, 0.5))
    expected = stats.bootstrap(
        (counts.correct, counts.n),
        lambda k, n, axis: k.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        method="BCa",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    values = _bootstrap(counts, 20_000, np.random.default_rng(2))
    found = np.quantile(values, _bca_tails(counts, values))
    assert found == pytest.approx((expected.low, expected.high), abs=0.006)


def test_effective_number_of_images_between_groups_and_images():
    six_times = np.repeat(np.arange(200) % 5 != 0, 6)  # 200 groups of six equal images
    found = accuracy_interval(six_times, np.repeat(np.arange(200), 6))
    assert found.n_groups == 200
    assert found.n_effective == pytest.approx(199, rel=1e-6)  # (g - 1) / g, as any estimated variance
    rng = np.random.default_rng(0)
    independent = rng.random(1200) < 0.8
    assert accuracy_interval(independent, np.repeat(np.arange(200), 6)).n_effective > 900


@pytest.mark.parametrize("right", [True, False])
def test_without_a_mistake_the_groups_count_as_trials(right):
    found = accuracy_interval([right] * 60, np.repeat(np.arange(20), 3))
    lo, hi = found.ci95
    assert (lo, hi)[right] == float(right)
    assert 0.15 < hi - lo < 0.25  # Wilson's for 20 of 20 is 0.16 wide; the t quantile adds something
    assert found.n_effective == 20


def test_one_group_only_knows_nothing():
    lo, hi = accuracy_interval([True, True, False], ["a", "a", "a"]).ci95
    assert lo < 0.05
    assert hi > 0.95


def test_the_same_seed_gives_the_same_interval_and_the_order_of_images_does_not_matter():
    rng = np.random.default_rng(0)
    correct, groups = correlated_groups(rng, 50, 0.8, 0.5)
    first = accuracy_interval(correct, groups)
    order = rng.permutation(len(correct))
    assert accuracy_interval(correct[order], groups[order]) == first
    assert accuracy_interval(correct, groups, random_state=1).ci95 != first.ci95


def test_ten_thousand_groups_are_no_burden():
    correct, groups = correlated_groups(np.random.default_rng(0), 10_000, 0.9, 0.5)
    accuracy_interval(correct, groups)  # SciPy's import is not measured
    start = time.perf_counter()
    accuracy_interval(correct, groups)
    assert time.perf_counter() - start < 1


def test_variance_of_an_accuracy_by_groups():
    # Two groups of two images: two right, none right. Residuals 1 and -1: (1 + 1) / 16 * 2 / 1.
    found = linearised_variance(np.array([2.0, 0.0]), np.array([2.0, 2.0]), np.array([1, 1]))
    assert found == pytest.approx(2 / 16 * 2)


@pytest.mark.parametrize(("correct", "groups"), [([], None), ([True], [1, 2]), ([[True]], None)])
def test_what_has_no_interval_is_refused(correct, groups):
    with pytest.raises(ValueError, match="image"):
        accuracy_interval(correct, groups)
