"""Whether two accuracies differ by more than chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.evaluation.intervals import GroupCounts, accuracy_interval, count_groups, linearised_variance

__all__ = [
    "Contradiction",
    "Difference",
    "Disagreement",
    "contradiction",
    "corrected_resampled_t",
    "holm",
    "mcnemar",
    "standard_error",
]

DRAWS = 9999
"""Random assignments of groups in `contradiction`: p-values come in steps of 1 / 10,000."""


@dataclass(frozen=True)
class Disagreement:
    """Outcome of `mcnemar`.

    Attributes
    ----------
    only_a, only_b : int
        Images that only the one or only the other classifier predicted correctly.
    p_value : float
        Probability of a difference at least this large, were both equally good.
    """

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Contradiction:
    """How far cross-validated and held-out accuracy lie apart.

    Attributes
    ----------
    difference : float
        Cross-validated minus held-out accuracy.
    ci95 : tuple of float
        95% interval of the difference, ``(lo, hi)``.
    p_value : float
        Two-sided; below 0.01 the two contradict each other.
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Difference:
    """Outcome of the corrected resampled t-test.

    Attributes
    ----------
    mean : float
        Mean difference over folds, in the unit of the scores.
    ci95 : tuple of float
        95% interval of the difference, ``(lo, hi)``.
    statistic : float
        Corrected t; infinite where all folds agree on a difference.
    df : int
        Degrees of freedom.
    p_value : float
        Two-sided.
    """

    mean: float
    ci95: tuple[float, float]
    statistic: float
    df: int
    p_value: float


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike, groups: ArrayLike | None = None) -> Disagreement:
    """Exact test of two classifiers on the same test images, by whole groups where there are any.

    If both were equally good, exchanging their results on any image would change nothing. So the sum of
    their differences is compared with its distribution over all exchanges of whole groups, computed exactly.
    Where every image stands alone this is McNemar's exact test, a binomial test on the images that only one
    of the two predicted correctly (Q. McNemar 1947, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12; for classifiers: Dietterich 1998, "Approximate
    statistical tests for comparing supervised classification learning algorithms", Neural Computation 10).

    Parameters
    ----------
    correct_a, correct_b : array of bool, shape (n,)
        Whether each classifier predicted each image correctly, images in one order.
    groups : array, shape (n,), optional
        Equal values mark images of one thing, whose results are exchanged together.

    Returns
    -------
    Disagreement
        With p = 1 where the two never disagree.

    Raises
    ------
    ValueError
        Where the arrays have different shapes.

    Examples
    --------
    >>> a, b = [True] * 6 + [False] * 4, [False] * 5 + [True] + [False] * 4
    >>> mcnemar(a, b)
    Disagreement(only_a=5, only_b=0, p_value=0.0625)
    >>> mcnemar(a, b, groups=[1, 1, 1, 1, 1, 2, 3, 4, 5, 6])
    Disagreement(only_a=5, only_b=0, p_value=1.0)
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"need two arrays of one length, got shapes {a.shape} and {b.shape}")
    differences = a.astype(np.int64) - b
    if groups is not None:
        names = np.asarray(groups)
        if names.shape != a.shape:
            raise ValueError(f"need one group an image, got shapes {names.shape} and {a.shape}")
        _, index = np.unique(names, return_inverse=True)
        differences = np.bincount(index, weights=differences).round().astype(np.int64)
    return Disagreement(int(np.sum(a & ~b)), int(np.sum(b & ~a)), _sign_test(differences))


def _sign_test(differences: NDArray[np.int64]) -> float:
    """Two-sided p of the sum of whole numbers whose signs are those of fair coins."""
    from scipy import stats  # imported here: it costs half a second, and only comparisons need it

    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if len(sizes) == 0:
        return 1.0
    if len(sizes) == 1:
        return float(stats.binomtest(int(np.sum(differences > 0)), int(counts[0])).pvalue)
    distribution = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        # Of `count` groups that differ by `size`, a binomial number counts for a and the others for b.
        step = np.zeros(2 * size * count + 1)
        step[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = np.convolve(distribution, step)
    sums = np.abs(np.arange(len(distribution)) - len(distribution) // 2)
    return float(min(1.0, distribution[sums >= abs(differences.sum())].sum()))


def contradiction(
    cv_correct: ArrayLike,
    held_out_correct: ArrayLike,
    cv_groups: ArrayLike | None = None,
    held_out_groups: ArrayLike | None = None,
    *,
    random_state: int = 0,
) -> Contradiction:
    """Test whether cross-validated and held-out accuracy differ by more than chance.

    Where every image stands alone: Fisher's exact test. With groups: a permutation test that assigns whole
    groups to the two samples at random and compares the difference divided by its standard error, which
    stays valid where groups differ in size (Janssen 1997, "Studentized permutation tests for non-i.i.d.
    hypotheses", Statistics & Probability Letters 36). The interval joins those of the two accuracies (R. G.
    Newcombe 1998, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17, method 10).

    Parameters
    ----------
    cv_correct : array of bool, shape (n,)
        Whether each training image was predicted correctly by the model that was fitted without its fold.
    held_out_correct : array of bool, shape (m,)
        Whether each held-out image was predicted correctly.
    cv_groups, held_out_groups : array, shape (n,) and (m,), optional
        Equal values mark images of one thing.
    random_state : int
        Seed of the random assignments.

    Returns
    -------
    Contradiction
        The difference, its interval, and the p-value.

    Raises
    ------
    ValueError
        Where a sample is empty or has another length than its groups.
    """
    cv, held_out = count_groups(cv_correct, cv_groups), count_groups(held_out_correct, held_out_groups)
    if cv.grouped or held_out.grouped:
        p_value = _permutation_test(cv, held_out, np.random.default_rng(random_state))
    else:
        right = [round(float(sample.correct.sum())) for sample in (cv, held_out)]
        p_value = _fisher_exact(right[0], len(cv.n), right[1], len(held_out.n))
    a, b = accuracy_interval(cv_correct, cv_groups), accuracy_interval(held_out_correct, held_out_groups)
    difference = a.accuracy - b.accuracy
    lo = difference - math.hypot(a.accuracy - a.ci95[0], b.ci95[1] - b.accuracy)
    hi = difference + math.hypot(a.ci95[1] - a.accuracy, b.accuracy - b.ci95[0])
    return Contradiction(difference, (lo, hi), p_value)


def _fisher_exact(right_a: int, n_a: int, right_b: int, n_b: int) -> float:
    """Two-sided p of Fisher's exact test: how likely are tables no likelier than this one, given its margins?

    As ``scipy.stats.fisher_exact``, whose import takes half a second that every run would wait for.
    """
    from scipy.special import gammaln

    def log_choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    right = right_a + right_b
    lowest = max(0, right - n_b)
    a = np.arange(lowest, min(n_a, right) + 1)
    log_p = log_choose(n_a, a) + log_choose(n_b, right - a)
    p = np.exp(log_p - log_p.max())
    # Tables that are equally likely but for rounding count as no likelier.
    return min(1.0, float(p[p <= p[right_a - lowest] * (1 + 1e-7)].sum() / p.sum()))


def _permutation_test(first: GroupCounts, second: GroupCounts, rng: np.random.Generator) -> float:
    """Two-sided p of the studentised difference over random assignments of whole groups."""
    together = GroupCounts(np.r_[first.correct, second.correct], np.r_[first.n, second.n])
    kinds, count = together.distinct()
    index = {kind: i for i, kind in enumerate(zip(kinds.correct, kinds.n, strict=True))}
    observed = np.bincount(
        [index[kind] for kind in zip(first.correct, first.n, strict=True)], minlength=len(count)
    )
    draws = rng.multivariate_hypergeometric(count, len(first.n), size=DRAWS, method="marginals")
    weights = np.concatenate([observed[None], draws])  # the first row is the data themselves
    sizes = np.abs(_studentised(kinds, weights, count - weights))
    # Statistics that are equal but for rounding are ties, and ties count as at least as large.
    return float(np.mean(sizes >= sizes[0] * (1 - 1e-9)))


def _studentised(
    kinds: GroupCounts, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Difference of two samples' accuracies in standard errors; 0 for no difference, whatever the error."""
    difference, variance = np.zeros(len(first)), np.zeros(len(first))
    for sign, weights in ((1, first), (-1, second)):
        difference += sign * (weights @ kinds.correct) / (weights @ kinds.n)
        variance += linearised_variance(kinds.correct, kinds.n, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(difference) < 1e-12, 0.0, difference / np.sqrt(variance))


def corrected_resampled_t(differences: ArrayLike, n_train: float, n_test: float) -> Difference:
    """Corrected resampled t-test of two methods scored on the same repeated folds.

    Folds share training images, so their differences are correlated and the usual variance of the mean,
    ``s^2 / J``, is far too small. Nadeau and Bengio 2003, "Inference for the generalization error", Machine
    Learning 52, use ``(1 / J + n_test / n_train) s^2`` instead, for J folds. Bouckaert and Frank 2004,
    "Evaluating the replicability of significance tests for comparing learning algorithms", PAKDD, found it
    well behaved with repeated cross-validation.

    Parameters
    ----------
    differences : array of float, shape (J,)
        Score of the one method minus score of the other, fold by fold, over all repetitions; J >= 2.
    n_train, n_test : float
        Images in the training and the test part of a fold, on average.

    Returns
    -------
    Difference
        Mean, 95% interval and two-sided p. Where all folds show one and the same difference the variance
        estimate is zero: p is then 1 for no difference and 0 for any other.

    Raises
    ------
    ValueError
        Where there are fewer than two folds or a size isn't positive.
    """
    from scipy.special import stdtr, stdtrit  # imported here: it costs 0.1 s, and only comparisons need it

    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2:
        raise ValueError(f"need the differences of at least two folds, got shape {d.shape}")
    if min(n_train, n_test) <= 0:
        raise ValueError(f"fold sizes must be positive, got {n_train} and {n_test}")
    mean, df = float(d.mean()), len(d) - 1
    if np.all(d == d[0]):
        same = mean == 0
        return Difference(mean, (mean, mean), 0.0 if same else math.copysign(math.inf, mean), df, float(same))
    error = math.sqrt((1 / len(d) + n_test / n_train) * float(d.var(ddof=1)))
    reach = float(stdtrit(df, 0.975)) * error
    p_value = 2 * float(stdtr(df, -abs(mean / error)))
    return Difference(mean, (mean - reach, mean + reach), mean / error, df, p_value)


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values of several tests so that any false alarm at all stays as rare as claimed.

    S. Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6: the smallest p is multiplied by m, the next by m - 1, and so on, none falling below its
    predecessor. Valid whatever the dependence between the tests, and never weaker than Bonferroni's.

    Parameters
    ----------
    p_values : array of float, shape (m,)
        Each between 0 and 1.

    Returns
    -------
    array of float64, shape (m,)
        Adjusted p-values in the order given, at most 1: compare them with the level itself.

    Raises
    ------
    ValueError
        Where a value is no probability.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p-values lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def standard_error(values: NDArray[np.float64], groups: NDArray[Any] | None = None) -> float:
    """Return the standard error of the mean of some values, which are independent between groups only."""
    deviations = values - values.mean()
    if groups is not None:
        deviations = np.bincount(np.unique(groups, return_inverse=True)[1], deviations)
    n = len(deviations)
    return float(np.sqrt((deviations**2).sum() * n / max(1, n - 1)) / len(values))
