"""Training sets of several sizes: nested, stratified, of whole groups, for each fold of a cross-validation.

For each fold its training part is put in a random order, class by class and group by group, of which the sets
are beginnings. A larger set so holds the smaller ones, and all are judged on the same held-out images, which
leaves little noise in the difference between two sizes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Plan
from finetune.data.split import Folds

__all__ = ["beginning", "fractions", "subset_plan"]

Indices = NDArray[np.int64]

#: The smallest set has about this many images a class: with fewer, errors do not follow the power law yet.
FEWEST = 4

#: Sizes are at most this many times the next smaller one.
STEP = 2.0


def fractions(n: int, n_classes: int, most: int = 6) -> list[float]:
    """Return shares of n training images, ascending to 1, each about twice the one before.

    Parameters
    ----------
    n : int
        Images of a training part.
    n_classes : int
    most : int, optional
        How many shares at most.
    """
    halvings = min(most - 1, int(np.log2(max(1.0, n / (FEWEST * n_classes)))))
    return [STEP**-i for i in range(halvings, -1, -1)]


def subset_plan(
    labels: Indices, folds: Folds, fraction: float, groups: NDArray[Any] | None = None, seed: int = 0
) -> Plan:
    """Return the plan of one choice, whose training sets are a share of those of some folds.

    Parameters
    ----------
    labels : (n,) int array
        Class indices.
    folds : Folds
        Perhaps repeated; the held-out rows judge the choice.
    fraction : float
        Of each class's training images; whole groups, and at least one of each class.
    groups : (n,) array, optional
        Images of one group are taken together.
    seed : int, optional
        Of the order; the sets of a larger fraction hold those of a smaller one.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    trains = [
        beginning(labels, groups, train, fraction, np.random.default_rng([seed, i]))
        for i, (train, _) in enumerate(folds.pairs)
    ]
    return Plan(trains, [[(i, rows) for i, (_, rows) in enumerate(folds.pairs)]])


def beginning(
    labels: Indices, groups: NDArray[Any], train: Indices, fraction: float, rng: np.random.Generator
) -> Indices:
    """Return the first groups of each class, in a random order, until they have a share of its images.

    Parameters
    ----------
    labels : (n,) int array
    groups : (n,) array
    train : int array
        Rows to take from.
    fraction : float
        From 0 to 1; at least one group of each class is taken.
    rng : Generator
        One in the same state gives the same order, of which this is the beginning.
    """
    y, (names, index) = labels[train], np.unique(groups[train], return_inverse=True)
    order = rng.permutation(len(names))
    # A group counts for the class that most of its images have.
    counts = np.zeros((len(names), int(y.max()) + 1), np.int64)
    np.add.at(counts, (index, y), 1)
    classes, sizes = counts.argmax(axis=1), counts.sum(axis=1)
    taken = np.zeros(len(names), bool)
    for c in np.unique(classes):
        members = order[classes[order] == c]
        before = np.cumsum(sizes[members]) - sizes[members]
        # Half an image less, so that sizes are rounded and a fraction of 1 takes all.
        taken[members] = before < max(1.0, fraction * sizes[members].sum() - 0.5)
    return train[taken[index]]
