"""Whether training and held-out images are of different kinds: can a classifier tell them apart?

A held-out accuracy answers for images like the held-out ones, cross-validation for images like the training
ones. If a classifier can learn to tell the two apart by their features, they answer different questions
(a classifier two-sample test: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", ICLR).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LEVEL", "Shift", "measure_shift"]

LEVEL = 0.002
"""Below this p-value the two are of different kinds: a random split comes here once in 500 times.

Twenty random splits together give a false alarm with a probability of 4%; with a level of 1% it would be 18%.
Real differences are detected either way: blurred or recompressed images have the smallest p-value there is.
"""

MAX_ROWS = 1000
"""Images that the classifier is fitted on; more cost time and change the answer little."""

PERMUTATIONS = 1999
FOLDS = 5

RIDGE = 0.3
"""L2 penalty, relative to the mean squared length of the centred features.

Penalties from 0.03 to 3 give AUCs that differ by less than 0.03 (ants and bees, sign digits; blurred,
recompressed or with another colour balance), within 0.05 of those of scikit-learn's logistic regression.
"""


@dataclass(frozen=True)
class Shift:
    """How well a classifier separates training from held-out images.

    Attributes
    ----------
    auc : float
        Probability that a random held-out image looks more like the held-out images than a random training
        image does: 0.5 at chance level, 1 where they are fully separable.
    p_value : float
        Share of random splits with an AUC at least as large.
    """

    auc: float
    p_value: float

    @property
    def differs(self) -> bool:
        """Whether the two are of different kinds, from what no random split shows."""
        return self.p_value < LEVEL


def measure_shift(
    train_features: ArrayLike,
    test_features: ArrayLike,
    train_groups: ArrayLike | None = None,
    test_groups: ArrayLike | None = None,
    train_labels: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    *,
    random_state: int = 0,
) -> Shift:
    """Tell training and held-out images apart by a linear classifier on their features.

    The classifier is a ridge regression on the two sides, which for two classes is Fisher's linear
    discriminant with regularised covariance. Each image is scored by one that was fitted without its fold
    (five folds, whole groups). The p-value compares the AUC with those of random assignments of whole groups
    to the two sides. Out-of-fold scores of a ridge regression are a fixed matrix times the sides, so that all
    assignments cost one more matrix product.

    Parameters
    ----------
    train_features, test_features : array of float, shape (n, d) and (m, d)
        Features of training and held-out images; scaled to length 1 here.
    train_groups, test_groups : array, shape (n,) and (m,), optional
        Equal values mark images of one thing, on either side; both or none.
    train_labels, test_labels : array, shape (n,) and (m,), optional
        Classes; both or none. If given, only images of the same class are compared, so that a held-out
        folder with other class proportions does not count as another kind.
    random_state : int
        Seed of the subsample, the folds and the random assignments.

    Returns
    -------
    Shift
        AUC and p-value, from at most 1,000 images.

    Raises
    ------
    ValueError
        Where a side is empty, the shapes disagree, or no class has images on both sides.
    """
    train, test = np.asarray(train_features), np.asarray(test_features)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or not (len(train) and len(test)):
        raise ValueError(f"need features (n, d) and (m, d), n, m >= 1, got {train.shape} and {test.shape}")
    side = np.repeat([0, 1], [len(train), len(test)])
    group = _joined(train_groups, test_groups, side, np.arange(len(side)))
    label = _joined(train_labels, test_labels, side, np.zeros(len(side), dtype=np.int64))
    rng = np.random.default_rng(random_state)
    rows = _subsample(side, group, rng)
    features = np.empty((len(rows), train.shape[1]))
    features[side[rows] == 0] = train[rows[side[rows] == 0]]
    features[side[rows] == 1] = test[rows[side[rows] == 1] - len(train)]
    side, group, label = side[rows], group[rows], label[rows]
    sides = np.concatenate([side[None], _shuffled(side, group, label, rng)])
    scores = (sides - sides.mean(axis=1, keepdims=True)) @ _out_of_fold(features, _folds(group, rng)).T
    auc = _auc(scores, sides, label)
    return Shift(float(auc[0]), float(np.mean(auc >= auc[0])))


def _joined(
    first: ArrayLike | None, second: ArrayLike | None, side: NDArray[np.int64], default: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Number the values of both sides together."""
    if first is None or second is None:
        return default
    values = np.concatenate([np.asarray(first), np.asarray(second)])
    if len(values) != len(side):
        raise ValueError(f"{len(values)} groups or labels for {len(side)} images")
    return np.unique(values, return_inverse=True)[1]


def _subsample(
    side: NDArray[np.int64], group: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of whole groups in random order, about half of them of each side where there are enough."""
    sizes = np.bincount(side)
    fewer = min(int(sizes.min()), MAX_ROWS // 2)
    kept = []
    for which in (0, 1):
        limit = fewer if sizes[which] == fewer else MAX_ROWS - fewer
        rows = np.flatnonzero(side == which)
        rank = rng.permutation(group.max() + 1)  # rows are sorted by it: whole groups, in random order
        rows = rows[np.argsort(rank[group[rows]], kind="stable")]
        if len(rows) > limit and group[rows[limit]] == group[rows[limit - 1]]:
            limit = max(int(np.argmax(group[rows] == group[rows[limit]])), 1)
        kept.append(rows[:limit])
    # Equal scores are ranked in the order of the rows, which therefore must not depend on the side.
    return rng.permutation(np.concatenate(kept))


def _shuffled(
    side: NDArray[np.int64], group: NDArray[np.int64], label: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Random assignments of whole groups to the two sides, within their class, one a row."""
    # Images of one group that the data put on both sides are one unit on either side.
    _, first, unit = np.unique(2 * group + side, return_index=True, return_inverse=True)
    sides = np.tile(side[first], (PERMUTATIONS, 1))
    for c in np.unique(label[first]):
        members = np.flatnonzero(label[first] == c)
        sides[:, members] = rng.permuted(sides[:, members], axis=1)
    return sides[:, unit]


def _folds(group: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    _, index = np.unique(group, return_inverse=True)
    return (rng.permutation(index.max() + 1) % FOLDS)[index]


def _out_of_fold(features: NDArray[np.float64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Matrix that turns centred targets into the scores of ridge regressions fitted without each fold.

    With the hat matrix ``H = K (K + r I)^-1`` of all images, the residuals of a fold F under the fit without
    it are ``(I - H_FF)^-1 (y - H y)_F`` (as for leaving out one image: Allen 1974, "The relationship between
    variable selection and data augmentation and a method for prediction", Technometrics 16).
    Scores are centred by fold: a fold that happens to hold many held-out images leaves fewer for its fit,
    whose scores are lower for that reason alone.
    """
    n = len(features)
    x = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    x = x - x.mean(axis=0)
    kernel = x @ x.T
    ridge = RIDGE * max(float(np.trace(kernel)) / n, 1e-12)
    residual = ridge * np.linalg.inv(kernel + ridge * np.eye(n))  # I - H
    scores = np.zeros((n, n))
    for f in np.unique(fold):
        rows = np.flatnonzero(fold == f)
        part = -np.linalg.inv(residual[np.ix_(rows, rows)]) @ residual[rows]
        part[np.arange(len(rows)), rows] += 1
        scores[rows] = part - part.mean(axis=0)
    return scores


def _auc(
    scores: NDArray[np.float64], sides: NDArray[np.int64], label: NDArray[np.int64]
) -> NDArray[np.float64]:
    """AUC of every row of scores over all pairs of one class and two sides (Mann and Whitney's U)."""
    wins, pairs = np.zeros(len(scores)), np.zeros(len(scores))
    for c in np.unique(label):
        columns = np.flatnonzero(label == c)
        side = sides[:, columns]
        ordered = np.take_along_axis(side, np.argsort(scores[:, columns], axis=1, kind="stable"), axis=1)
        ones = side.sum(axis=1)
        wins += ordered @ np.arange(1, len(columns) + 1) - ones * (ones + 1) / 2
        pairs += ones * (len(columns) - ones)
    if pairs[0] == 0:
        raise ValueError("no class has images on both sides")
    return wins / np.maximum(pairs, 1)
