"""Whether two classifiers differ, or only their luck did."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Difference", "Disagreement", "corrected_resampled_t", "holm", "mcnemar"]


@dataclass(frozen=True)
class Disagreement:
    """Outcome of McNemar's test.

    Attributes
    ----------
    only_a, only_b : int
        Images that only the one or only the other classifier got right.
    p_value : float
        Probability of a split at least this uneven, were both equally good.
    """

    only_a: int
    only_b: int
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


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> Disagreement:
    """Exact McNemar test of two classifiers on the same test images.

    Images that both got right or both got wrong say nothing about which is better. Of the others, were both
    equally good, each would fall to either side like a fair coin: a two-sided binomial test
    (Q. McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12; its use for classifiers: Dietterich 1998, "Approximate statistical tests
    for comparing supervised classification learning algorithms", Neural Computation 10). Computed in whole
    numbers, without the chi-squared approximation, which is off below 25 disagreements, the usual case here.

    Parameters
    ----------
    right_a, right_b : array of bool, shape (n,)
        Whether each classifier got each image right, images in one order.

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
    >>> mcnemar([True] * 6 + [False] * 4, [False] * 5 + [True] + [False] * 4)
    Disagreement(only_a=5, only_b=0, p_value=0.0625)
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"need two arrays of one length, got shapes {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    n, fewer = only_a + only_b, min(only_a, only_b)
    ways, tail = 1, 0
    for k in range(fewer + 1):  # ways is the binomial coefficient (n choose k)
        tail += ways
        ways = ways * (n - k) // (k + 1)
    # Both tails; an even split counts its middle twice, hence the minimum. Whole numbers never overflow.
    return Disagreement(only_a, only_b, min(1.0, 2 * tail / 2**n))


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
