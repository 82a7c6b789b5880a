"""Ridge regression for many sizes of its penalty from one eigendecomposition, with rows left out exactly.

With the kernel matrix ``K = U diag(s) U^T`` of n rows and a penalty ``p``, the fitted values are ``H Y`` with
``H = U diag(s / (s + p)) U^T``. What the regression would predict for a block of rows B, had it been fitted
without them, follows from the same numbers, with no fit at all::

    prediction_B = Y_B - (I - H_BB)^-1 (Y - H Y)_B

For one row it is the well-known ``residual / (1 - h)`` (Allen 1974, "The relationship between variable
selection and data augmentation", Technometrics 16; for kernels: Rifkin and Lippert 2007, "Notes on
regularized least squares", MIT-CSAIL-TR-2007-025; for blocks: An, Liu and Venkatesh 2007, "Fast
cross-validation algorithms for least squares support vector machine and kernel ridge regression", Pattern
Recognition 40).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spectrum", "blocks_of"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Rows whose leverages are computed at a time.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A kernel matrix of n rows, decomposed.

    Attributes
    ----------
    U : (n, r) float64 array
        Orthonormal columns; r is n, or less where the matrix has a lower rank.
    s : (r,) float64 array
        Eigenvalues, none below 0.
    """

    U: Array
    s: Array

    def left_out(self, Y: Array, penalties: Array, blocks: Sequence[Rows]) -> Array:
        """Predict every row by a regression on all rows outside the row's block.

        Parameters
        ----------
        Y : (n, c) array
            Targets.
        penalties : (m,) array
            Above 0.
        blocks : sequence of int arrays
            Disjoint; a row that is in none of them is a block of its own.

        Returns
        -------
        (m, n, c) array
        """
        shrunk = self.s[:, None] / (self.s[:, None] + penalties)
        projected = self.U.T @ Y
        residuals = np.stack([Y - self.U @ (share[:, None] * projected) for share in shrunk.T])
        found: Array = Y - residuals / (1 - self._leverages(shrunk).T)[:, :, None]
        for rows in blocks:
            if len(rows) > 1:
                U = self.U[rows]
                within = np.stack([(U * share) @ U.T for share in shrunk.T])
                found[:, rows] = Y[rows] - np.linalg.solve(np.eye(len(rows)) - within, residuals[:, rows])
        return found

    def coefficients(self, Y: Array, penalty: float) -> Array:
        """Return ``diag(1 / (s + p)) U^T Y``, (r, c): the solution in the eigenvectors' coordinates."""
        return np.asarray((self.U.T @ Y) / (self.s + penalty)[:, None])

    def _leverages(self, shrunk: Array) -> Array:
        """Diagonals of H, (n, m)."""
        parts = range(0, len(self.U), CHUNK)
        return np.concatenate([np.square(self.U[start : start + CHUNK]) @ shrunk for start in parts])


def blocks_of(groups: NDArray[Any] | None) -> list[Rows]:
    """Return the rows of each group that has more than one; none where every row stands for itself."""
    if groups is None:
        return []
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(index, kind="stable")
    return [rows for rows in np.split(order, np.cumsum(counts)[:-1]) if len(rows) > 1]
