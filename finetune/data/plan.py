"""Which training sets are needed to make choices by cross-validation, and what judges each choice.

A plain cross-validation makes one choice on K folds. A nested one makes a choice for each outer fold,
on the images outside that fold alone, so that the fold can then tell how good the whole procedure is,
choosing included (Varma and Simon 2006, "Bias in error estimation when using cross-validation for
model selection", BMC Bioinformatics 7; Cawley and Talbot 2010, JMLR 11).

Nesting need not cost K times K fits. Let the other outer folds be the inner ones: what is learned without
folds i and j serves the choice for i, judged on j, and the choice for j, judged on i. That is
K (K - 1) / 2 training sets instead of K (K - 1).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.split import Folds, folds, smallest_class

__all__ = ["Nested", "Plan", "inner_folds", "nested", "plain"]

Indices = NDArray[np.int64]

#: With fewer folds than this, leaving out two would leave too little to learn from.
SHARED = 4


@dataclass(frozen=True, eq=False)
class Plan:
    """Training sets, and the choices they serve.

    Attributes
    ----------
    trains : list of int array
        Rows of each training set.
    choices : list of list of (int, int array)
        For each choice: the training sets that it is judged by, each with the held-out rows that judge it.
    """

    trains: list[Indices]
    choices: list[list[tuple[int, Indices]]]

    def order(self, choice: int) -> Indices:
        """Return a choice's held-out rows, one after the other."""
        return np.concatenate([rows for _, rows in self.choices[choice]])


@dataclass(frozen=True, eq=False)
class Nested(Plan):
    """A plan with a choice for each of the outer folds.

    Attributes
    ----------
    outer : list of (int array, int array)
        Training and held-out rows; choice i sees the training rows of outer fold i only.
    """

    outer: list[tuple[Indices, Indices]]


def plain(given: Folds) -> Plan:
    """Return the plan of one choice on some folds."""
    held_out = [rows for _, rows in given.pairs]
    return Plan([train for train, _ in given.pairs], [list(enumerate(held_out))])


def nested(
    labels: NDArray[np.int64], outer: Folds, groups: NDArray[Any] | None = None, seed: int = 0
) -> Iterator[Nested]:
    """Give out the plan of each repetition of some outer folds.

    Parameters
    ----------
    labels : (n,) int array
        Class indices.
    outer : Folds
        The outer folds, repetition after repetition.
    groups : (n,) array, optional
        As for :func:`finetune.data.split.folds`.
    seed : int, optional
        Of inner folds, where they are not the outer ones.

    Yields
    ------
    Nested
        Of `outer.n_folds` outer folds.
    """
    k = outer.n_folds
    for start in range(0, len(outer.pairs), k):
        pairs = outer.pairs[start : start + k]
        yield _shared(pairs) if k >= SHARED else _separate(labels, pairs, groups, seed)


def _shared(pairs: list[tuple[Indices, Indices]]) -> Nested:
    trains: list[Indices] = []
    choices: list[list[tuple[int, Indices]]] = [[] for _ in pairs]
    for i, j in combinations(range(len(pairs)), 2):
        choices[i].append((len(trains), pairs[j][1]))
        choices[j].append((len(trains), pairs[i][1]))
        trains.append(np.setdiff1d(pairs[i][0], pairs[j][1]))
    return Nested(trains, choices, pairs)


def _separate(
    labels: NDArray[np.int64],
    pairs: list[tuple[Indices, Indices]],
    groups: NDArray[Any] | None,
    seed: int,
) -> Nested:
    trains: list[Indices] = []
    choices: list[list[tuple[int, Indices]]] = []
    for train, _ in pairs:
        inner = inner_folds(labels[train], None if groups is None else groups[train], seed=seed)
        choices.append([(len(trains) + i, train[rows]) for i, (_, rows) in enumerate(inner.pairs)])
        trains += [train[rows] for rows, _ in inner.pairs]
    return Nested(trains, choices, pairs)


def inner_folds(
    labels: NDArray[np.int64], groups: NDArray[Any] | None, n_folds: int = 5, seed: int = 0
) -> Folds:
    """Folds of a few images: as even as they can be, even where a class has only one image or group."""
    if smallest_class(labels, groups) < 2:
        labels = np.zeros_like(labels)
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None
    return folds(labels, n_folds, groups, seed)
