"""From scores to calibrated probabilities.

Temperature scaling (Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", ICML)
divides all logits by one number T. The order of the classes, and so the accuracy, stays as it is.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["fit_temperature", "log_losses", "log_softmax", "softmax"]


def log_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Logarithm of `softmax` over the last axis, in float64, by SciPy.

    Parameters
    ----------
    logits : array of float, shape (..., k)
        Finite scores of any size.

    Returns
    -------
    array of float64, shape (..., k)
        Log-probabilities, at most 0.
    """
    from scipy import special  # imported here: it costs 0.1 s

    return special.log_softmax(np.asarray(logits, dtype=np.float64), axis=-1)


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities proportional to ``exp(logits)`` over the last axis, in float64, by SciPy.

    Parameters
    ----------
    logits : array of float, shape (..., k)
        Finite scores of any size.

    Returns
    -------
    array of float64, shape (..., k)
        Non-negative, sums to 1 over the last axis.
    """
    from scipy import special

    return special.softmax(np.asarray(logits, dtype=np.float64), axis=-1)


def log_losses(scores: NDArray[Any], labels: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return the log loss of each row, (n,), of scores (n, k) that are divided by a temperature."""
    return -log_softmax(scores / temperature)[np.arange(len(labels)), labels]


def fit_temperature(logits: ArrayLike, y: ArrayLike, bounds: tuple[float, float] = (0.05, 20.0)) -> float:
    """Find the temperature T that minimises the log loss of ``softmax(logits / T)``.

    With b = 1 / T the loss is ``mean(log sum_j exp(b z_j) - b z_y)``, a log-sum-exp of linear functions and
    so convex in b. Its slope is ``mean(E_p[z] - z_y)`` and its curvature ``mean(Var_p[z])``, with
    p = softmax(b z): Newton's method on the slope, inside a bracket that is halved wherever a step would
    leave it, can't fail.

    Fit it on out-of-fold logits: on logits of the training images themselves T comes out too small. Where
    the logits separate the classes without a mistake, the loss falls for ever as T goes to 0, and the lower
    bound is returned; where they are worse than nothing, the upper one.

    Parameters
    ----------
    logits : array of float, shape (n, k)
        Finite scores of n >= 1 images that the scoring model wasn't fitted on.
    y : array of int, shape (n,)
        True classes.
    bounds : tuple of float
        Smallest and largest T; 1 lies between them.

    Returns
    -------
    float
        T within `bounds`. Its log loss is never above that of T = 1; where no T is better, T is 1.

    Raises
    ------
    ValueError
        Where the shapes disagree, a logit isn't finite, or the bounds don't hold 1.
    """
    z, truth = np.asarray(logits, dtype=np.float64), np.asarray(y)
    if z.ndim != 2 or truth.shape != z.shape[:1] or len(z) == 0:
        raise ValueError(f"need logits (n, k) and y (n,), n >= 1, got {z.shape} and {truth.shape}")
    if not np.all(np.isfinite(z)):
        raise ValueError("logits must be finite")
    if not 0 < bounds[0] <= 1 <= bounds[1]:
        raise ValueError(f"the bounds {bounds} must be positive and hold 1 between them")
    # Measured from the true class's score, which softmax ignores, the loss is mean(logsumexp(b z)).
    z = z - np.take_along_axis(z, truth[:, None].astype(np.intp), axis=1)
    best = _minimise(z, 1 / bounds[1], 1 / bounds[0])
    return 1 / best if _loss(z, best) < _loss(z, 1.0) else 1.0


def _loss(z: NDArray[np.float64], b: float) -> float:
    top = z.max(axis=1)  # at least 0, the true class's own score
    return float(np.mean(b * top + np.log(np.exp(b * (z - top[:, None])).sum(axis=1))))


def _slope(z: NDArray[np.float64], b: float) -> tuple[float, float]:
    """First and second derivative of the loss in b."""
    p = softmax(b * z)
    mean = (p * z).sum(axis=1)
    return float(mean.mean()), float((p * (z - mean[:, None]) ** 2).sum(axis=1).mean())


def _minimise(z: NDArray[np.float64], lo: float, hi: float) -> float:
    """Root of the loss's increasing slope between lo and hi, or the end that it falls towards."""
    if _slope(z, lo)[0] >= 0:
        return lo
    if _slope(z, hi)[0] <= 0:
        return hi
    b = 1.0
    for _ in range(100):
        slope, curvature = _slope(z, b)
        lo, hi = (b, hi) if slope < 0 else (lo, b)
        step = b - slope / curvature if curvature > 0 else hi
        new = step if lo < step < hi else (lo + hi) / 2
        if abs(new - b) <= 1e-10 * b:
            return new
        b = new
    return b
