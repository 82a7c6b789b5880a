"""A power law through errors at several training sizes, and what it says of sizes beyond them.

Errors of classifiers fall as ``a + b m^-c`` with the number m of training images (Cortes, Jackel, Solla,
Vapnik and Denker 1993, "Learning curves: asymptotic values and rate of convergence", NeurIPS; Hestness et al.
2017, arXiv 1712.00409; Viering and Loog 2023, "The shape of learning curves", IEEE TPAMI 45). Few points do
not determine the exponent c, and a prediction that takes the best one is far too sure of itself. So each
prediction is drawn: the held-out images, whole groups at a time, from those there are; the training sets' own
luck from a normal distribution; and the exponent from what both leave possible.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extrapolation", "PowerLaw", "fit_power_law"]

Array = NDArray[np.float64]

#: Exponents that are tried, equally likely beforehand: from almost flat to faster than any learning curve.
EXPONENTS = np.geomspace(0.1, 2.0, 24)

DRAWS = 2000


@dataclass(frozen=True)
class Extrapolation:
    """An accuracy at a number of training images.

    Attributes
    ----------
    n : int
    accuracy : float
        The median of what is possible.
    ci95 : (float, float)
    """

    n: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """Draws of ``error(m) = a + b m^-c``.

    Attributes
    ----------
    a, b, c : (draws,) arrays
        `b` belongs to sizes in units of `unit`.
    unit : float
    """

    a: Array
    b: Array
    c: Array
    unit: float

    def accuracies(self, n: float) -> Array:
        """Return the accuracy with n training images in each draw."""
        return 1 - np.clip(self.a + self.b * (n / self.unit) ** -self.c, 0, 1)

    def at(self, n: int, least: tuple[float, float] = (0.0, 0.0)) -> Extrapolation:
        """Return the accuracy with n training images.

        Parameters
        ----------
        n : int
        least : (float, float), optional
            How far below and above the accuracy the interval reaches at least.
        """
        drawn = self.accuracies(n)
        middle = float(np.median(drawn))
        lo, hi = (float(q) for q in np.quantile(drawn, [0.025, 0.975]))
        return Extrapolation(
            n, middle, (max(0.0, min(lo, middle - least[0])), min(1.0, max(hi, middle + least[1])))
        )

    def gain(self, n: int, more: int) -> tuple[float, float, float]:
        """Return by how much the accuracy grows from n to `more` images: median and 95% interval."""
        low, middle, high = np.quantile(self.accuracies(more) - self.accuracies(n), [0.025, 0.5, 0.975])
        return float(middle), float(low), float(high)


def fit_power_law(
    sizes: Array, errors: Array, noise: Array, groups: NDArray[np.int64], random_state: int = 0
) -> PowerLaw:
    """Fit a power law to the errors of the same images at several training sizes.

    Parameters
    ----------
    sizes : (j,) array
        Mean number of training images, at least two different ones, ascending.
    errors : (j, n) array
        How often each image was predicted wrong at each size, from 0 to 1.
    noise : (j,) array
        Standard error of each size's mean error that is due to which training sets were drawn.
    groups : (n,) int array
        Of the images, from 0.
    random_state : int, optional
        Seed of the draws.
    """
    rng = np.random.default_rng(random_state)
    totals = np.stack([np.bincount(groups, row) for row in errors])
    counts = np.bincount(groups)
    # Of g groups, g are drawn with replacement (cluster bootstrap).
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWS)
    drawn = (weights @ totals.T) / (weights @ counts)[:, None]
    floor = 0.25 / counts.sum()  # a quarter of an image: where no training set had luck, one might have had
    spread = np.maximum(noise, floor)
    drawn = np.maximum(drawn + rng.normal(size=drawn.shape) * spread, 0)
    return _drawn_laws(sizes, drawn, 1 / spread**2, rng)


def _drawn_laws(sizes: Array, drawn: Array, weight: Array, rng: np.random.Generator) -> PowerLaw:
    """For each drawn curve an exponent, as likely as the curve makes it, with the a and b that fit best."""
    unit = float(sizes[-1])
    a, b, misfit = (np.empty((len(EXPONENTS), len(drawn))) for _ in range(3))
    for i, c in enumerate(EXPONENTS):
        a[i], b[i], misfit[i] = _least_squares((sizes / unit) ** -c, drawn, weight)
    likelihood = np.exp(-0.5 * (misfit - misfit.min(axis=0)))
    share = np.cumsum(likelihood, axis=0) / likelihood.sum(axis=0)
    picked = (rng.random(len(drawn)) > share).sum(axis=0).clip(max=len(EXPONENTS) - 1)
    every = np.arange(len(drawn))
    return PowerLaw(a[picked, every], b[picked, every], EXPONENTS[picked], unit)


def _least_squares(x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Fit ``y = a + b x`` to each row of y, with a, b >= 0; return a, b and the weighted squares left."""
    w = weight / weight.sum()
    x_mean, y_mean = float(w @ x), y @ w
    variance = float(w @ (x - x_mean) ** 2)
    slope = ((y - y_mean[:, None]) * (x - x_mean)) @ w / variance
    b = np.where(slope < 0, 0.0, slope)
    a = y_mean - b * x_mean
    through_zero = (y * x) @ w / float(w @ x**2)
    b, a = np.where(a < 0, through_zero, b), np.maximum(a, 0)
    return a, b, ((y - a[:, None] - b[:, None] * x) ** 2) @ weight
