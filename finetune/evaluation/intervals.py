"""Intervals: how far off a measured number may be, given so few test images."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bootstrap", "wilson"]


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, such as an accuracy.

    The set of all p that a two-sided z-test would not reject (E. B. Wilson 1927, "Probable inference, the
    law of succession, and statistical inference", JASA 22; recommended for small n by Brown, Cai and
    DasGupta 2001, "Interval estimation for a binomial proportion", Statistical Science 16). Unlike
    ``p +- 1.96 sqrt(p (1 - p) / n)`` it stays within 0 and 1 and has width where nothing went wrong.

    Parameters
    ----------
    successes : int
        Between 0 and `n`.
    n : int
        Number of trials. With none, nothing is known and the interval is (0, 1).
    level : float
        Share of studies whose interval holds the true value, strictly between 0 and 1.

    Returns
    -------
    tuple of float
        ``(lo, hi)``.

    Raises
    ------
    ValueError
        Where the counts or the level are out of range.

    Examples
    --------
    >>> lo, hi = wilson(145, 153)
    >>> f"{lo:.3f} to {hi:.3f}"
    '0.900 to 0.973'
    """
    _check_level(level)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula gives 0 and 1 exactly, but rounding doesn't.
    lo = 0.0 if successes == 0 else (centre - half) / scale
    hi = 1.0 if successes == n else (centre + half) / scale
    return lo, hi


def bootstrap(
    metric: Callable[..., float],
    y: ArrayLike,
    *arrays: ArrayLike,
    level: float = 0.95,
    resamples: int = 2000,
    method: Literal["bca", "percentile"] = "bca",
    random_state: int = 0,
) -> tuple[float, float]:
    """Stratified bootstrap interval of any metric.

    Images are drawn with replacement within each class, so every resample has the class sizes of `y`: the
    test set's make-up was the experimenter's choice and is no part of the uncertainty.
    ``percentile`` takes quantiles of the resampled metric; ``bca`` (bias-corrected and accelerated, Efron
    1987, "Better bootstrap confidence intervals", JASA 82) moves them for the metric's bias and skewness,
    with the acceleration of several samples after Davison and Hinkley 1997, "Bootstrap methods and their
    application", section 5.4. For a plain accuracy prefer `wilson`: a bootstrap of a classifier without a
    mistake has no width.

    Parameters
    ----------
    metric : callable
        ``metric(y, *arrays) -> float``, such as `finetune.evaluation.metrics.balanced_accuracy`.
    y : array of int, shape (n,)
        True classes, n >= 1.
    *arrays : arrays, shape (n, ...)
        What else the metric takes, one row an image: predictions or probabilities.
    level : float
        Strictly between 0 and 1.
    resamples : int
        Number of resamples; the metric is computed that often, and n times more for ``bca``.
    method : {"bca", "percentile"}
        How quantiles become an interval.
    random_state : int
        Seed; the same seed gives the same interval.

    Returns
    -------
    tuple of float
        ``(lo, hi)``.

    Raises
    ------
    ValueError
        Where the arrays disagree in length or the level or method is unknown.
    """
    _check_level(level)
    if method not in ("bca", "percentile"):
        raise ValueError(f"method {method!r} is neither 'bca' nor 'percentile'")
    truth = np.asarray(y)
    data = [truth, *(np.asarray(array) for array in arrays)]
    if truth.ndim != 1 or len(truth) == 0 or any(len(array) != len(truth) for array in data):
        raise ValueError("y and the other arrays need one row an image, and at least one image")
    strata = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    rng = np.random.default_rng(random_state)
    draws = np.concatenate([rng.choice(rows, (resamples, len(rows))) for rows in strata], axis=1)
    values = np.array([metric(*(array[rows] for array in data)) for rows in draws])
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        tails = _bca_tails(tails, values, float(metric(*data)), _jackknife(metric, data, strata))
    lo, hi = np.quantile(values, tails)
    return float(lo), float(hi)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not strictly between 0 and 1")


def _jackknife(
    metric: Callable[..., float], data: list[NDArray[Any]], strata: list[NDArray[np.intp]]
) -> list[NDArray[np.float64]]:
    """Metric with each image left out in turn, by class; a class's only image is never left out."""
    everyone = np.arange(len(data[0]))
    return [
        np.array([metric(*(array[everyone != row] for array in data)) for row in rows])
        for rows in strata
        if len(rows) > 1
    ]


def _bca_tails(
    tails: NDArray[np.float64],
    values: NDArray[np.float64],
    observed: float,
    left_out: list[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Move the two quantile levels for bias and acceleration."""
    normal = NormalDist()
    # Half of the ties count as below: resampled accuracies take few values, and hit the observed one often.
    below = float(np.mean(values < observed) + np.mean(values == observed) / 2)
    if not 0 < below < 1:
        return tails  # every resample on one side: the correction is undefined
    bias = normal.inv_cdf(below)
    influence = [(len(values) - 1) * (values.mean() - values) for values in left_out]
    variance = sum(float((u**2).sum()) / len(u) ** 2 for u in influence)
    third = sum(float((u**3).sum()) / len(u) ** 3 for u in influence)
    acceleration = third / (6 * variance**1.5) if variance > 0 else 0.0
    moved = [bias + normal.inv_cdf(float(tail)) for tail in tails]
    return np.array([normal.cdf(bias + m / (1 - acceleration * m)) for m in moved])
