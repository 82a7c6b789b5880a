"""Nearest neighbours of every held-out row of a plan, and their votes for every number of neighbours.

The meaning is that of scikit-learn's ``KNeighborsClassifier(algorithm="brute")``, which predicts for new
images (:mod:`finetune.heads.knn`). Among classes with equally many votes the first one wins, and where a
neighbour lies at distance 0 and votes weigh ``1 / distance``, only those at distance 0 vote. Of neighbours
that are equally far, the one that comes first in the training part is nearer.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Plan
from finetune.heads.distances import lengths, ranks_within
from zoo.parallel import threads

__all__ = ["WEIGHTS", "Nearest", "nearest_in_parts", "votes", "winners_over_k"]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

WEIGHTS = ("uniform", "distance")

#: The neighbours of some rows, nearest first: their row numbers and distances, both (m, k).
Nearest = tuple[Indices, Array]

#: Numbers that the counts of votes over all k may hold at a time, 8 bytes each.
AT_ONCE = 20_000_000


def nearest_in_parts(X: Array, plan: Plan, distance: str, k: int) -> list[list[Nearest]]:
    """Find the neighbours of every held-out row of a plan, from one distance matrix.

    The neighbours in a training part are the neighbours among all rows, less those outside the part: so
    one sorting of the distances serves every part, and every number of neighbours.

    Parameters
    ----------
    X : (n, d) array
        Features.
    plan : Plan
        Over these n rows.
    distance : str
        One of :data:`finetune.heads.distances.DISTANCES`.
    k : int
        How many neighbours; no more than the smallest training part has.

    Returns
    -------
    list of list of Nearest
        For each choice, for each of its parts, in the order of its held-out rows.
    """
    inside = np.zeros((len(plan.trains), len(X)), dtype=bool)
    for mask, train in zip(inside, plan.trains, strict=True):
        mask[train] = True
    found: list[list[Nearest]] = [
        [(np.empty((len(rows), k), np.int64), np.empty((len(rows), k))) for _, rows in choice]
        for choice in plan.choices
    ]
    for rows, matrix in ranks_within(X, distance):
        order = _order(matrix)
        for choice, places in zip(plan.choices, found, strict=True):
            for (part, held_out), (neighbours, far) in zip(choice, places, strict=True):
                here = np.flatnonzero((held_out >= rows[0]) & (held_out <= rows[-1]))
                at = held_out[here] - rows[0]
                neighbours[here] = _first(order, at, inside[part], k)
                far[here] = lengths(matrix[at[:, None], neighbours[here]], distance)
    return found


def _order(matrix: Array) -> Indices:
    """Every row's columns from the least value on, those of equal values in their order."""
    order = np.empty(matrix.shape, np.int64)

    def sort(rows: slice) -> None:
        order[rows] = np.argsort(matrix[rows], axis=1, kind="stable")

    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(sort, (slice(start, start + 256) for start in range(0, len(matrix), 256))))
    return order


def _first(order: Indices, at: Indices, inside: NDArray[np.bool_], k: int) -> Indices:
    """The first k of each row's order that lie inside a part."""
    # Mostly a few more than k suffice; only where they do not is the whole order looked through.
    few = min(order.shape[1], int(1.5 * k * len(inside) / inside.sum()) + 30)
    result = np.empty((len(at), k), np.int64)
    for start in range(0, len(at), 1000):
        rows = at[start : start + 1000]
        enough = inside[order[rows, :few]].sum(axis=1) >= k
        for some, width in ((enough, few), (~enough, order.shape[1])):
            candidates = order[rows[some], :width]
            usable = inside[candidates]
            usable &= np.cumsum(usable, axis=1) <= k
            result[start : start + 1000][some] = candidates[usable].reshape(-1, k)
    return result


def votes(labels: Indices, far: Array, weights: str, n_classes: int) -> NDArray[np.float64]:
    """Add up the votes of neighbours.

    Parameters
    ----------
    labels : (m, k) int array
        The neighbours' classes.
    far : (m, k) array
        Their distances.
    weights : str
        ``uniform``: every neighbour has one vote; ``distance``: 1 / distance of a vote.
    n_classes : int
        How many classes there are.

    Returns
    -------
    (m, n_classes) array
        Votes for each class.
    """
    each = np.ascontiguousarray(_weigh(far, weights), np.float64)
    # One sum a class, over the neighbours in their order: the rounding of scikit-learn's weighted_mode.
    return np.stack([(each * (labels == c)).sum(axis=1) for c in range(n_classes)], axis=1)


def winners_over_k(labels: Indices, far: Array, weights: str, n_classes: int) -> Indices:
    """Return the winning class for every number of neighbours.

    Parameters are those of :func:`votes`, with neighbours from the nearest to the farthest.

    Returns
    -------
    (m, k) int array
        Column j is the class that the j + 1 nearest vote for.
    """
    m, k = labels.shape
    each = _weigh(far, weights)
    result = np.empty((m, k), np.int64)
    at_a_time = max(1, AT_ONCE // (k * n_classes))
    for start in range(0, m, at_a_time):
        part = slice(start, start + at_a_time)
        ballots = np.zeros((*labels[part].shape, n_classes))
        np.put_along_axis(ballots, labels[part][..., None], each[part][..., None], axis=2)
        result[part] = np.cumsum(ballots, axis=1, out=ballots).argmax(axis=2)
    return result


def _weigh(far: Array, weights: str) -> Array:
    if weights == "uniform":
        return np.ones_like(far)
    exact = far == 0
    with np.errstate(divide="ignore"):
        each = 1 / far
    return np.where(exact.any(axis=1, keepdims=True), exact, each)
