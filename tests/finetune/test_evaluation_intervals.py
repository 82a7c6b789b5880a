"""Intervals equal a reference implementation and keep their promise in simulated studies."""

import numpy as np
import pytest
from scipy import stats

from finetune.evaluation import bootstrap, wilson
from finetune.evaluation.metrics import accuracy, balanced_accuracy, macro_f1


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (145, 153), (3, 1000)])
def test_wilson_equals_scipy(successes, n, level):
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_reaches_the_ends_exactly_and_knows_nothing_without_trials():
    assert wilson(0, 9)[0] == 0
    assert wilson(9, 9)[1] == 1
    assert wilson(0, 0) == (0, 1)


def test_wilson_covers_the_truth_in_simulated_studies():
    rng = np.random.default_rng(0)
    truths = rng.uniform(0.5, 0.99, 1000)
    sizes = rng.integers(50, 501, 1000)
    inside = 0
    for p, n, hits in zip(truths, sizes, rng.binomial(sizes, truths), strict=True):
        lo, hi = wilson(int(hits), int(n))
        inside += lo <= p <= hi
    assert inside >= 930


@pytest.mark.parametrize(("successes", "n", "level"), [(2, 1, 0.95), (-1, 1, 0.95), (1, 2, 0), (1, 2, 1)])
def test_wilson_refuses_what_is_no_proportion(successes, n, level):
    with pytest.raises(ValueError, match=r"successes|level"):
        wilson(successes, n, level)


def _study(rng, n):
    """Four classes of unequal size, recognised in 60 to 90 % of cases."""
    y = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])[np.arange(n) % 10]
    right = rng.random(len(y)) < np.array([0.9, 0.8, 0.7, 0.6])[y]
    return y, np.where(right, y, (y + 1) % 4)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_equals_scipy_on_independent_samples(method):
    # Balanced accuracy of two classes is the mean of two sample means, which SciPy resamples separately too.
    y, called = np.repeat([0, 1], [40, 25]), np.r_[[0] * 36, [1] * 4, [1] * 15, [0] * 10]
    right = (y == called).astype(float)
    expected = stats.bootstrap(
        (right[y == 0], right[y == 1]),
        lambda a, b, axis: (a.mean(axis=axis) + b.mean(axis=axis)) / 2,
        method=method,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = bootstrap(balanced_accuracy, y, called, method=method, resamples=5000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.012)


def test_bootstrap_takes_any_metric_keeps_class_sizes_and_obeys_its_seed():
    y, called = _study(np.random.default_rng(0), 100)
    sizes = np.bincount(y)
    seen = []

    def metric(truth, predictions):
        seen.append(np.array_equal(np.bincount(truth), sizes))
        return macro_f1(truth, predictions)

    lo, hi = bootstrap(metric, y, called, resamples=100, method="percentile", random_state=3)
    assert lo < macro_f1(y, called) < hi
    assert all(seen)
    assert (lo, hi) == bootstrap(macro_f1, y, called, resamples=100, method="percentile", random_state=3)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_of_a_faultless_classifier_or_single_images_does_not_fail(method):
    y = np.array([0, 0, 0, 1])
    assert bootstrap(balanced_accuracy, y, y, resamples=50, method=method) == (1, 1)


def test_bootstrap_of_balanced_accuracy_covers_the_truth_in_simulated_studies():
    rng = np.random.default_rng(0)
    inside = 0
    for study in range(1000):
        y, called = _study(rng, int(rng.integers(50, 501)))
        right = (y == called).astype(float)
        lo, hi = bootstrap(_mean_recall, y, right, resamples=200, method="percentile", random_state=study)
        inside += lo <= 0.75 <= hi
    assert inside >= 930


def _mean_recall(y, right):
    return float(np.mean(np.bincount(y, right) / np.bincount(y)))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(([0, 1], [0]), {}), (([], []), {}), (([0], [0]), {"method": "magic"}), (([0], [0]), {"level": 2})],
)
def test_bootstrap_refuses_what_it_cannot_resample(arguments, options):
    with pytest.raises(ValueError, match=r"row|method|level"):
        bootstrap(accuracy, *arguments, **options)
