"""How unlike the training images a new image is, as a p-value.

An image's score is the cosine distance of its features to those of its nearest training images (distance to
the k-th nearest neighbour for out-of-distribution detection: Sun, Ming, Zhu and Li 2022, "Out-of-distribution
detection with deep nearest neighbors", ICML). The score of each training image against those of other groups
says how large scores are where nothing is wrong; the p-value is the share that is at least as large
(conformal anomaly detection: Laxhammar and Falkman 2010). It does not say that an image shows none of
the classes: a new class of the same kind looks familiar. benchmarks/unfamiliar.py measures both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Unfamiliar"]

DEFAULT_K = 2
"""Which nearest neighbour counts. With the first, one odd training image makes others look familiar: trained
on ants and bees, it rejects 94% of photographs of magnetic tiles, and the second all of them.
"""

MAX_REFERENCES = 2000
"""Training images that are kept for comparison: 5 MB with 1,280 features."""

_BLOCK = 1024


@dataclass(frozen=True)
class Unfamiliar:
    """Features of training images to which new ones are compared.

    Attributes
    ----------
    references : array of float16, shape (n, d)
        Features of training images, scaled to length 1.
    k : int
        Which nearest neighbour counts.
    distances : array of float32, shape (n,)
        Distance of every reference to the k-th nearest of another group, ascending.
    p_values : array of float64, shape (n + 1,)
        ``p_values[i]`` belongs to a distance above ``distances[:i]`` and not above ``distances[i:]``.
    """

    references: NDArray[np.float16]
    k: int
    distances: NDArray[np.float32]
    p_values: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        features: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        k: int = DEFAULT_K,
        random_state: int = 0,
    ) -> Self:
        """Keep training images, and measure how far apart they are.

        Every group has the same weight, however many images it has: new images come from new groups.

        Parameters
        ----------
        features : array of float, shape (n, d)
            Features of the training images.
        groups : array, shape (n,), optional
            Equal values mark images of one thing, which are never compared with each other.
        k : int
            Which nearest neighbour counts; fewer where there are no more references outside a group.
        random_state : int
            Seed of the choice of 2,000 images, where there are more.

        Returns
        -------
        Unfamiliar
            Ready to judge new images.

        Raises
        ------
        ValueError
            Where the shapes disagree, or there are fewer than two groups.
        """
        x = np.asarray(features, dtype=np.float32)
        index = np.arange(len(x)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if x.ndim != 2 or len(index) != len(x) or k < 1:
            raise ValueError(
                f"need features (n, d), a group an image and k >= 1, got {x.shape}, {len(index)}, {k}"
            )
        if len(x) > MAX_REFERENCES:
            kept = np.sort(np.random.default_rng(random_state).permutation(len(x))[:MAX_REFERENCES])
            x, index = x[kept], np.unique(index[kept], return_inverse=True)[1]
        sizes = np.bincount(index)
        if len(sizes) < 2:
            raise ValueError("need images of at least two groups")
        references = _unit(x).astype(np.float16)
        k = min(k, len(x) - int(sizes.max()))
        distances = _nearest(x, references, k, index)
        order = np.argsort(distances, kind="stable")
        weights = 1 / sizes[index[order]]
        # The new image's own group counts as at least as far, so that p is never 0.
        tail = np.append(np.cumsum(weights[::-1])[::-1], 0)
        p_values = (1 + tail) / (len(sizes) + 1)
        return cls(references, k, distances[order], p_values)

    @property
    def lowest(self) -> float:
        """The smallest p-value there is: a lower level than this rejects nothing."""
        return float(self.p_values[-1])

    def predict(self, features: ArrayLike) -> NDArray[np.float64]:
        """Judge new images.

        Parameters
        ----------
        features : array of float, shape (m, d)
            Features as those of the training images.

        Returns
        -------
        array of float64, shape (m,)
            Share of training images that are at least as unlike the others: small for an image unlike
            anything in training.

        Raises
        ------
        ValueError
            Where the number of features differs from that in training.
        """
        x = np.asarray(features, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != self.references.shape[1]:
            raise ValueError(f"need features (m, {self.references.shape[1]}), got {x.shape}")
        distances = _nearest(x, self.references, self.k)
        return self.p_values[np.searchsorted(self.distances, distances, side="left")]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, to be stored beside a model."""
        return {
            "references": self.references,
            "k": np.array(self.k),
            "distances": self.distances,
            "p_values": self.p_values,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Restore what `to_arrays` gave."""
        return cls(arrays["references"], arrays["k"].item(), arrays["distances"], arrays["p_values"])


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _nearest(
    x: NDArray[np.float32],
    references: NDArray[np.float16],
    k: int,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Cosine distance to the k-th nearest reference, or to that of another group if x are the references."""
    kept = references.astype(np.float32)
    found = np.empty(len(x), dtype=np.float32)
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distances = 1 - _unit(x[rows]) @ kept.T
        if groups is not None:
            distances[groups[rows, None] == groups] = np.inf
        found[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return found
