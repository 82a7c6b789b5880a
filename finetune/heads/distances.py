"""How far images are apart: all distances at once.

``l2`` and ``cosine`` are one matrix product each. ``l1`` has no such form: every pair costs d absolute
differences, 2.7 thousand million of them for 2,062 images of 1,280 features, even when each pair is
visited once. It is done tile by tile, small enough for the processor's cache, in threads (SciPy gives
up the interpreter's lock meanwhile).

The arithmetic is scikit-learn's, in the same precision, so that neighbours come in the same order:
float64 throughout for ``l1`` and ``l2``, the features' own precision for ``cosine``.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.parallel import threads

__all__ = ["DISTANCES", "lengths", "ranks", "ranks_within"]

Array = NDArray[np.floating[Any]]

DISTANCES = ("l1", "l2", "cosine")

#: Rows of a tile of `l1`: two of them with 1,280 features fill 2.6 MB.
TILE = 128

#: Rows from which on the distances within a set are given out piece by piece, 8 bytes a pair.
WHOLE = 6000


def ranks(A: Array, B: Array, distance: str) -> Array:
    """Return numbers that order the rows of `B` by their distance from each row of `A`.

    Parameters
    ----------
    A : (a, d) array
        From where.
    B : (b, d) array
        To where.
    distance : str
        One of `DISTANCES`.

    Returns
    -------
    (a, b) array
        The distances themselves; for ``l2`` their squares, whose order is the same and which are exact
        for whole numbers. `lengths` takes the root.
    """
    if distance == "l1":
        return _city_block(A, B)
    return _cosine(A, B) if distance == "cosine" else _squared(A, B)


def ranks_within(X: Array, distance: str) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Give out `ranks` of the rows of `X` among themselves.

    Parameters
    ----------
    X : (n, d) array
    distance : str
        One of `DISTANCES`.

    Yields
    ------
    rows : (m,) int array
        Some of the rows, in order; all of them at once where there are no more than `WHOLE`.
    matrix : (m, n) array
        What `ranks` gives for them.
    """
    n = len(X)
    if n <= WHOLE:
        yield np.arange(n), _symmetric_city_block(X) if distance == "l1" else ranks(X, X, distance)
        return
    for start in range(0, n, WHOLE // 4):
        rows = np.arange(start, min(start + WHOLE // 4, n))
        yield rows, ranks(X[rows], X, distance)


def lengths(ranked: Array, distance: str) -> Array:
    """Turn `ranks` into distances."""
    return np.sqrt(ranked) if distance == "l2" else ranked


def _squared(A: Array, B: Array) -> Array:
    """|a - b|^2 = |a|^2 - 2 ab + |b|^2; never below 0, where rounding would have it there."""
    A, B = A.astype(np.float64), B.astype(np.float64)
    matrix = A @ B.T
    matrix *= -2
    matrix += np.einsum("ij,ij->i", A, A)[:, None]
    matrix += np.einsum("ij,ij->i", B, B)
    return np.maximum(matrix, 0, out=matrix)


def _cosine(A: Array, B: Array) -> Array:
    """1 - ab / (|a| |b|), between 0 and 2; 1 where a row is all zero."""
    matrix = _unit(A) @ _unit(B).T
    matrix *= -1
    matrix += 1
    return np.clip(matrix, 0, 2, out=matrix)


def _unit(X: Array) -> Array:
    norms = np.sqrt(np.einsum("ij,ij->i", X, X))
    norms[norms < 10 * np.finfo(norms.dtype).eps] = 1
    return np.asarray(X / norms[:, None])


def _city_block(A: Array, B: Array) -> Array:
    from scipy.spatial.distance import cdist

    A, B = A.astype(np.float64), B.astype(np.float64)
    matrix = np.empty((len(A), len(B)))

    def fill(tile: tuple[slice, slice]) -> None:
        matrix[tile] = cdist(A[tile[0]], B[tile[1]], "cityblock")

    tiles = [(a, b) for a in _slices(len(A)) for b in _slices(len(B))]
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(fill, tiles))
    return matrix


def _symmetric_city_block(X: Array) -> Array:
    """Half the work: a tile above the diagonal gives the one below as well."""
    from scipy.spatial.distance import cdist

    X = X.astype(np.float64)
    matrix = np.empty((len(X), len(X)))

    def fill(tile: tuple[slice, slice]) -> None:
        part = cdist(X[tile[0]], X[tile[1]], "cityblock")
        matrix[tile] = part
        matrix[tile[1], tile[0]] = part.T

    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(fill, combinations_with_replacement(_slices(len(X)), 2)))
    return matrix


def _slices(n: int) -> list[slice]:
    return [slice(start, min(start + TILE, n)) for start in range(0, n, TILE)]
