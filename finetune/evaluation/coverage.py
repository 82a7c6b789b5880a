"""Sets of classes that hold the right one as often as promised: conformal prediction.

A. N. Angelopoulos and S. Bates 2021, "A gentle introduction to conformal prediction and distribution-free
uncertainty quantification", arXiv 2107.07511. How unusual a class is for an image is scored from the
predicted probabilities. A set holds the classes whose score is at most a threshold: one that the right class
rarely exceeds on images that the model was not fitted on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PredictionSets", "fit_prediction_sets", "groups_needed"]

LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.98, 0.99, 0.995, 0.999)
"""Levels whose thresholds are stored."""

UNEQUAL = 2.0
"""Classes are unequal where the largest has more than this many times the images of the smallest."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class PredictionSets:
    """Thresholds of the prediction sets of one model.

    Attributes
    ----------
    method : {"lac", "aps"}
        ``lac``: least ambiguous set-valued classifiers, one threshold; ``aps``: adaptive prediction sets, a
        threshold for every class.
    n, n_groups : int
        Images, and groups of images, that the thresholds rest on.
    thresholds : dict of float to tuple of float
        For every level, the largest score of each class that belongs to a set.
    """

    method: Literal["lac", "aps"]
    n: int
    n_groups: int
    thresholds: dict[float, tuple[float, ...]]

    def predict(self, probabilities: ArrayLike, level: float = 0.95) -> NDArray[np.bool_]:
        """Sets that hold the right class with a probability of at least `level`.

        The promise is an average over new images of the same kind as the training images. The most probable
        class is always in the set, so that none is empty: where a model is right more often than `level`,
        its sets are too.

        Parameters
        ----------
        probabilities : array of float, shape (m, k)
            Rows sum to 1.
        level : float
            Between 0 and 1. A level that is not stored is rounded up to the next one that is.

        Returns
        -------
        array of bool, shape (m, k)
            Whether each class belongs to each image's set.

        Raises
        ------
        ValueError
            Where the number of classes differs, or the training images are too few for the level.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        thresholds = np.array(self.thresholds[self._stored(level)])
        if p.ndim != 2 or p.shape[1] != len(thresholds):
            raise ValueError(f"need probabilities (m, {len(thresholds)}), got {p.shape}")
        sets = _scores(p, self.method) <= thresholds + _ROUNDING
        sets[np.arange(len(p)), p.argmax(axis=1)] = True
        return sets

    def _stored(self, level: float) -> float:
        """The lowest stored level that is no lower."""
        if not 0 < level < 1:
            raise ValueError(f"a coverage of {level} is not between 0 and 1: choose one such as 0.95")
        enough = [stored for stored in sorted(self.thresholds) if stored >= level - _ROUNDING]
        if enough:
            return enough[0]
        raise ValueError(
            f"A coverage of {level:g} needs at least {groups_needed(level)} training images, or groups of "
            f"images of one thing; there are {self.n_groups}. Choose one of at most {max(self.thresholds)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        thresholds = {str(level): list(values) for level, values in self.thresholds.items()}
        return {"method": self.method, "n": self.n, "n_groups": self.n_groups, "thresholds": thresholds}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` gave."""
        thresholds = {float(level): tuple(row) for level, row in values["thresholds"].items()}
        return cls(values["method"], values["n"], values["n_groups"], thresholds)


def groups_needed(level: float) -> int:
    """Smallest number of images, or groups of images, from which a level can be promised.

    Of n images the right class's score of a new one is as likely to take any of n + 1 places, so no threshold
    that they give can promise more than n / (n + 1).

    Examples
    --------
    >>> groups_needed(0.95), groups_needed(0.99)
    (19, 99)
    """
    return math.ceil(level / (1 - level) - _ROUNDING)


def fit_prediction_sets(
    probabilities: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    method: Literal["auto", "lac", "aps"] = "auto",
) -> PredictionSets:
    """Find the thresholds from out-of-fold predictions (cross-conformal: Vovk 2015).

    The score of a class is its distance from certainty, ``1 - p`` (lac; Sadinle, Lei and Wasserman 2019,
    "Least ambiguous set-valued classifiers with bounded error levels", JASA 114: the smallest sets on
    average), or the probability of all classes before it (aps; Romano, Sesia and Candès 2020,
    "Classification with valid and adaptive coverage", NeurIPS, without its random part). One threshold for
    all classes covers the right class often enough on average, and rare classes much less often, with
    either score: so where classes are unequal, each has its own threshold (Angelopoulos and Bates, section
    4.2), except one with too few groups for it.

    Every group has the same weight, however many images it has: then the promise holds for an
    image of a new group (Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical data",
    arXiv 2306.06342; Dunn, Wasserman and Ramdas 2022, "Distribution-free prediction sets for two-layer
    hierarchical models", JASA 118).

    Parameters
    ----------
    probabilities : array of float, shape (n, k)
        Of every training image, by the model fitted without its fold; folds keep groups whole. Rows sum to 1.
    y : array of int, shape (n,)
        True classes.
    groups : array, shape (n,), optional
        Equal values mark images of one thing.
    method : {"auto", "lac", "aps"}
        ``auto`` is aps where the largest class has more than twice the images of the smallest, else lac.

    Returns
    -------
    PredictionSets
        With all levels that the number of groups allows.

    Raises
    ------
    ValueError
        Where the shapes disagree.
    """
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(y)
    index = np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if p.ndim != 2 or truth.shape != p.shape[:1] or len(index) != len(truth) or len(truth) == 0:
        raise ValueError(f"need probabilities (n, k), and y and groups (n,), got {p.shape}, {truth.shape}")
    k = p.shape[1]
    if method == "auto":
        counts = np.bincount(truth, minlength=k)
        method = "aps" if counts.max() > UNEQUAL * counts.min() else "lac"
    scores = _scores(p, method)[np.arange(len(truth)), truth]
    thresholds = {}
    for level in LEVELS:
        common = _threshold(scores, index, level)
        if not math.isfinite(common):
            continue
        own = np.full(k, np.inf)
        if method == "aps":
            own = np.array([_threshold(scores[truth == c], index[truth == c], level) for c in range(k)])
        thresholds[level] = tuple(np.where(np.isfinite(own), own, common).tolist())
    return PredictionSets(method, len(truth), len(np.unique(index)), thresholds)


def _scores(p: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """How unusual every class is for every image, between 0 and 1."""
    if method == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
    return scores


def _threshold(scores: NDArray[np.float64], groups: NDArray[np.int64], level: float) -> float:
    """Quantile of the scores, each group and one more at infinity having the same weight."""
    if len(scores) == 0:
        return math.inf
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / sizes[index[order]]) / (len(sizes) + 1)
    place = int(np.searchsorted(reached, level - _ROUNDING))
    return float(scores[order[place]]) if place < len(scores) else math.inf
