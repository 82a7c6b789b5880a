"""The choice among candidates by cross-validation, and how good what was chosen really is.

The best of several candidates is partly the luckiest: its cross-validated accuracy is too high for having
been chosen by it. The bootstrap of Tsamardinos, Greasidou and Borboudakis (2018, "Bootstrapping the
out-of-sample predictions for efficient and accurate cross-validation", Machine Learning 107) repeats the
choice on images drawn with replacement, and judges what it chose on the images that were not drawn; nothing
has to be fitted for it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CorrectedAccuracy", "choose_candidate", "corrected_accuracy"]

#: Bootstrap draws of `corrected_accuracy`.
DRAWS = 500


@dataclass(frozen=True)
class CorrectedAccuracy:
    """A chosen candidate's accuracy, before and after the correction.

    Attributes
    ----------
    accuracy : float
        Corrected for the choice.
    uncorrected : float
        Of the chosen candidate's out-of-fold predictions.
    ci95 : tuple of float
        The interval of the uncorrected accuracy, moved by the correction.
    """

    accuracy: float
    uncorrected: float
    ci95: tuple[float, float]


def choose_candidate(
    losses: NDArray[np.float64], costs: NDArray[np.float64], groups: NDArray[Any] | None = None
) -> int:
    """Return the candidate with the lowest loss, or a cheaper one that cannot be told from it.

    Candidates whose mean loss exceeds the lowest by no more than one standard error of the paired
    differences cannot be told apart (the one-standard-error rule: Breiman, Friedman, Olshen and Stone 1984,
    "Classification and regression trees", section 3.4.3). Of these the cheapest is taken, and of equally
    cheap ones that with the lowest loss.

    Parameters
    ----------
    losses : (m, n) array
        Log loss of each of n images, by each of m candidates that were not trained on it.
    costs : (m,) array
        Of a prediction, in any unit.
    groups : (n,) array, optional
        Equal values mark images of one thing: losses are independent between groups only.

    Examples
    --------
    >>> losses = np.array([[0.3, 0.5, 0.4], [0.2, 0.6, 0.3], [0.9, 0.8, 0.9]])
    >>> choose_candidate(losses, np.array([1.0, 2.0, 0.5]))
    0
    """
    sums, sizes = _by_group(losses, groups)
    return _chosen(sums, sizes, np.ones(len(sizes)), costs)


def corrected_accuracy(
    losses: NDArray[np.float64],
    correct: NDArray[np.bool_],
    costs: NDArray[np.float64],
    chosen: int,
    groups: NDArray[Any] | None = None,
    *,
    draws: int = DRAWS,
    random_state: int = 0,
) -> CorrectedAccuracy:
    """Estimate how accurate a candidate is that :func:`choose_candidate` chose.

    Parameters
    ----------
    losses, costs, groups
        As for :func:`choose_candidate`.
    correct : (m, n) bool array
        Whether each candidate predicted each image correctly.
    chosen : int
        Which candidate was chosen.
    draws : int, optional
        Bootstrap draws, of whole groups.
    random_state : int, optional
        Seed of the draws.

    Returns
    -------
    CorrectedAccuracy
        Never above the uncorrected accuracy: the choice can only have flattered it.
    """
    from finetune.evaluation.intervals import accuracy_interval

    own = accuracy_interval(correct[chosen], groups)
    loss, sizes = _by_group(losses, groups)
    right, _ = _by_group(correct.astype(np.float64), groups)
    rng = np.random.default_rng(random_state)
    n = len(sizes)
    outer = []
    for weights in rng.multinomial(n, np.full(n, 1 / n), size=draws):
        inside, outside = weights > 0, weights == 0
        if inside.sum() < 2 or not outside.any():
            continue
        best = _chosen(loss[:, inside], sizes[inside], weights[inside], costs)
        outer.append(right[best, outside].sum() / sizes[outside].sum())
    accuracy = min(own.accuracy, float(np.mean(outer))) if outer else own.accuracy
    lo, hi = (end - (own.accuracy - accuracy) for end in own.ci95)
    return CorrectedAccuracy(accuracy, own.accuracy, (max(0.0, lo), hi))


def _by_group(
    values: NDArray[np.float64], groups: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of values, (m, g), and numbers of images, (g,), by group."""
    if groups is None:
        return values, np.ones(values.shape[1])
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = [np.bincount(index, row, len(counts)).astype(np.float64) for row in values]
    return np.stack(sums), counts.astype(np.float64)


def _chosen(
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    weights: NDArray[Any],
    costs: NDArray[np.float64],
) -> int:
    """The choice on groups that count several times each."""
    total = weights @ sizes
    means = (sums @ weights) / total
    differences = sums - sums[means.argmin()]
    mean = (differences @ weights) / total
    n = weights.sum()
    spread = np.square(differences - mean[:, None] * sizes) @ weights
    error = np.sqrt(spread * n / max(1, n - 1)) / total
    alike = np.flatnonzero(mean <= error)
    return int(min(alike, key=lambda i: (costs[i], means[i])))
