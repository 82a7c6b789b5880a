"""Tests of difference equal their references, and give false alarms no more often than they say."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from studies import correlated_groups

from finetune.evaluation import contradiction, corrected_resampled_t, holm, mcnemar

# 1,000 simulations of an event of probability 0.05 see it more than 67 times in 1 case of 100.
RARE = stats.binom.ppf(0.99, 1000, 0.05)


def _disagreeing(only_a, only_b):
    a = [True] * only_a + [False] * only_b + [True, False]
    b = [False] * only_a + [True] * only_b + [True, False]
    return a, b


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_the_binomial_test(only_a, only_b):
    found = mcnemar(*_disagreeing(only_a, only_b))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    n = only_a + only_b
    assert found.p_value == pytest.approx(stats.binomtest(only_a, n).pvalue if n else 1.0)


def test_mcnemar_stays_exact_on_many_images():
    assert mcnemar(*_disagreeing(3000, 2800)).p_value == pytest.approx(stats.binomtest(3000, 5800).pvalue)


def test_two_equal_classifiers_are_rarely_called_different_by_mcnemar():
    rng = np.random.default_rng(0)
    alarms = 0
    for n in rng.integers(50, 501, 1000):
        hard = rng.random(n)  # both fail on hard images more often: their mistakes go together
        a, b = rng.random((2, n)) > 0.4 * hard
        alarms += mcnemar(a, b).p_value <= 0.05
    assert alarms <= RARE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_with_groups_it_is_the_share_of_all_exchanges_of_whole_groups(images):
    groups, a, b = np.array(images).T
    by_group = np.array([(a - b)[groups == g].sum() for g in np.unique(groups)])
    sums = np.array([np.dot(signs, by_group) for signs in product([1, -1], repeat=len(by_group))])
    assert mcnemar(a, b, groups).p_value == pytest.approx(np.mean(abs(sums) >= abs(by_group.sum())))


def test_groups_of_one_image_change_nothing():
    a, b = np.random.default_rng(0).random((2, 300)) < [[0.9], [0.8]]
    assert mcnemar(a, b, np.arange(300)) == mcnemar(a, b)


def test_with_groups_two_equal_classifiers_are_rarely_called_different():
    """1,000 studies of 15 to 150 groups; McNemar's test, which ignores the groups, fails them."""
    rng = np.random.default_rng(0)
    alarms = plain_alarms = 0
    for n_groups in rng.integers(15, 151, 1000):
        a, groups = correlated_groups(rng, n_groups, 0.8, 0.8)
        own = rng.beta(0.2, 0.05, n_groups)  # another classifier of accuracy 0.8 and correlation 0.8
        b = rng.random(len(groups)) < own[groups]
        alarms += mcnemar(a, b, groups).p_value <= 0.05
        plain_alarms += mcnemar(a, b).p_value <= 0.05
    assert alarms <= RARE
    assert plain_alarms > 5 * RARE


def test_with_groups_a_real_difference_is_seen():
    rng = np.random.default_rng(0)
    a, groups = correlated_groups(rng, 150, 0.95, 0.8)
    own = rng.beta(0.15, 0.1, 150)
    assert mcnemar(a, rng.random(len(groups)) < own[groups], groups).p_value < 0.001


def test_mcnemar_sees_a_real_difference():
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.95, rng.random(300) < 0.80
    assert mcnemar(a, b).p_value < 0.001


def test_without_test_images_the_corrected_t_is_the_ordinary_one():
    d = np.random.default_rng(0).normal(0.3, 1, 20)
    found, expected = corrected_resampled_t(d, 1, 1e-12), stats.ttest_1samp(d, 0)
    assert (found.statistic, found.p_value, found.df) == pytest.approx(
        (expected.statistic, expected.pvalue, 19)
    )
    interval = expected.confidence_interval(0.95)
    assert found.ci95 == pytest.approx((interval.low, interval.high))


def test_corrected_t_by_hand():
    # mean 2, variance 1, (1/3 + 1/4) * 1 under the root
    found = corrected_resampled_t([1, 2, 3], n_train=80, n_test=20)
    assert found.statistic == pytest.approx(2 / math.sqrt(1 / 3 + 1 / 4))
    assert found.p_value == pytest.approx(2 * stats.t.sf(found.statistic, 2))


def test_two_equal_learners_are_rarely_called_different_on_overlapping_folds():
    """Two learners that each see one useful feature of the same strength, on 3 times 5 folds."""
    rng = np.random.default_rng(0)
    alarms = plain_alarms = 0
    for _ in range(1000):
        d = _fold_differences(rng, n=100, folds=5, repeats=3)
        alarms += corrected_resampled_t(d, 80, 20).p_value <= 0.05
        plain_alarms += not np.all(d == d[0]) and stats.ttest_1samp(d, 0).pvalue <= 0.05
    assert alarms <= RARE
    assert plain_alarms > 2 * RARE  # what the correction is for


def _fold_differences(rng, n, folds, repeats):
    """Accuracy of a nearest-mean rule on feature 0 minus that on feature 1, fold by fold."""
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 2)) + 0.8 * y[:, None]
    differences = []
    for _ in range(repeats):
        fold = rng.permutation(n) % folds
        for f in range(folds):
            train, test = fold != f, fold == f
            border = (x[train & (y == 0)].mean(axis=0) + x[train & (y == 1)].mean(axis=0)) / 2
            right = ((x[test] > border) == y[test, None]).mean(axis=0)
            differences.append(right[0] - right[1])
    return np.array(differences)


def test_folds_that_all_agree():
    assert corrected_resampled_t([0.0, 0.0], 4, 1).p_value == 1
    always = corrected_resampled_t([-0.1, -0.1, -0.1], 4, 1)
    assert (always.p_value, always.statistic) == (0, -math.inf)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p):
    """Holm's procedure rejects what every intersection that holds it rejects by Bonferroni."""
    m = len(p)
    subsets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
    expected = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(m)]
    np.testing.assert_allclose(holm(p), expected)


def test_holm_of_nothing_and_of_nonsense():
    assert holm([]).tolist() == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, math.nan])


# Cross-validated against held-out accuracy


def test_independent_images_are_compared_by_fishers_exact_test():
    found = contradiction([True] * 90 + [False] * 10, [True] * 30 + [False] * 10)
    assert found.p_value == pytest.approx(stats.fisher_exact([[90, 10], [30, 10]]).pvalue)
    assert found.difference == pytest.approx(0.15)
    assert found.ci95[0] < 0.15 < found.ci95[1]


@pytest.mark.parametrize("sizes", [(5, 5), (8, 3), (1, 20), (150, 95), (4000, 1500)])
def test_fishers_exact_test_is_scipys(sizes):
    for shares in [(0, 0), (0, 1), (1, 1), (0.5, 0.5), (0.9, 0.7), (0.95, 0.96), (0.2, 1)]:
        right = [round(share * n) for share, n in zip(shares, sizes, strict=True)]
        correct = [np.arange(n) < r for n, r in zip(sizes, right, strict=True)]
        table = [[r, n - r] for r, n in zip(right, sizes, strict=True)]
        expected = stats.fisher_exact(table).pvalue
        assert contradiction(*correct).p_value == pytest.approx(expected, rel=1e-8, abs=1e-300), table


def test_few_groups_are_compared_over_all_assignments():
    """Four groups against two: 15 assignments, which the random ones sample evenly."""
    cv, held_out = [3, 3, 2, 3], [0, 1]  # right of three images each
    every = np.array(cv + held_out)

    def t(chosen):
        first, second = every[list(chosen)] / 3, np.delete(every, list(chosen)) / 3
        error = math.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
        return abs(first.mean() - second.mean()) / error if error else math.inf

    sizes = [t(chosen) for chosen in combinations(range(6), 4)]
    exact = np.mean([size >= t((0, 1, 2, 3)) - 1e-9 for size in sizes])

    def images(hits):
        return np.concatenate([np.arange(3) < h for h in hits]), np.repeat(np.arange(len(hits)), 3)

    (a, groups_a), (b, groups_b) = images(cv), images(held_out)
    assert contradiction(a, b, groups_a, groups_b).p_value == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize("grouped", [False, True])
def test_images_of_one_kind_are_rarely_called_a_contradiction(grouped):
    """At the 1% level; 50 studies exceed it more than 3 times in 1 case of 200."""
    rng = np.random.default_rng(0)
    alarms = inside = 0
    for _ in range(50):
        a, groups_a = correlated_groups(rng, int(rng.integers(40, 120)), 0.85, 0.8 * grouped)
        b, groups_b = correlated_groups(rng, int(rng.integers(15, 40)), 0.85, 0.8 * grouped)
        found = contradiction(a, b, *((groups_a, groups_b) if grouped else (None, None)))
        alarms += found.p_value < 0.01
        inside += found.ci95[0] <= 0 <= found.ci95[1]
    assert alarms <= stats.binom.ppf(0.995, 50, 0.01)
    assert inside >= 0.9 * 50


def test_a_held_out_folder_of_another_kind_is_a_contradiction():
    rng = np.random.default_rng(0)
    a, groups_a = correlated_groups(rng, 100, 0.94, 0.5)
    b, groups_b = correlated_groups(rng, 40, 0.62, 0.5)
    found = contradiction(a, b, groups_a, groups_b)
    assert found.p_value < 0.001
    assert found.ci95[0] > 0.1
    assert contradiction(a, b, groups_a, groups_b) == found


@pytest.mark.parametrize(
    "call",
    [
        lambda: mcnemar([True], [True, False]),
        lambda: mcnemar([True, True], [True, False], [1]),
        lambda: contradiction([True], []),
        lambda: corrected_resampled_t([0.1], 4, 1),
        lambda: corrected_resampled_t([0.1, 0.2], 4, 0),
    ],
)
def test_what_cannot_be_compared_is_refused(call):
    with pytest.raises(ValueError, match=r"need|positive"):
        call()
