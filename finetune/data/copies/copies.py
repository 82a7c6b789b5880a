"""What was found: pairs of images that show one thing, and the groups that they make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Components", "Copies", "Kind", "Pair", "SmallClass", "label_conflicts", "small_classes"]

Kind = Literal["bytes", "pixels", "scene"]


@dataclass(frozen=True)
class Pair:
    """Two images that show one thing.

    Attributes
    ----------
    a, b : int
        Their places, `a` before `b`.
    kind : str
        ``bytes``: the files are equal; ``pixels``: the decoded pictures are; ``scene``: they show one scene,
        or one is made of the other.
    score : float
        Share of the pictures' detail that is the same, 1 for equal ones.
    """

    a: int
    b: int
    kind: Kind
    score: float


@dataclass(frozen=True, eq=False)
class Copies:
    """Images that show one thing.

    Attributes
    ----------
    pairs : tuple of Pair
        Enough to connect each group: of n images, n - 1 pairs. Whether two images of a group that are no
        pair here would be one was not looked at.
    groups : (n,) int array
        Each image's group, numbered from 0 in the order of their first images; an image without copies has
        one of its own.
    """

    pairs: tuple[Pair, ...]
    groups: NDArray[np.int64]

    @property
    def n_groups(self) -> int:
        """How many groups have more than one image."""
        return int(np.count_nonzero(np.bincount(self.groups) > 1)) if len(self.groups) else 0

    @property
    def n_images(self) -> int:
        """How many images are in groups of more than one."""
        sizes = np.bincount(self.groups)
        return int(sizes[sizes > 1].sum())

    @property
    def largest(self) -> int:
        """How many images the largest group has."""
        return int(np.bincount(self.groups).max()) if len(self.groups) else 0


class Components:
    """Which of n things are connected, as connections become known.

    Parameters
    ----------
    n : int
        How many there are.
    """

    def __init__(self, n: int) -> None:
        self._parents = list(range(n))

    def root(self, i: int) -> int:
        """Return what stands for all that is connected with `i`."""
        parents = self._parents
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def connect(self, i: int, j: int) -> bool:
        """Connect two; return whether they were not connected before."""
        a, b = sorted((self.root(i), self.root(j)))
        self._parents[b] = a
        return a != b

    def labels(self) -> NDArray[np.int64]:
        """Number the components from 0, in the order of their first members."""
        roots = np.array([self.root(i) for i in range(len(self._parents))], np.int64)
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def label_conflicts(pairs: Iterable[Pair], labels: NDArray[np.int64]) -> list[Pair]:
    """Return copies with different labels: at least one of them is wrong.

    Parameters
    ----------
    pairs : iterable of Pair
        As found.
    labels : (n,) int array
        Classes.

    Returns
    -------
    list of Pair
        Equal files first, then equal pictures, then scenes, the most alike first. For exact copies it is an
        error; one scene may show two things.
    """
    order = ("bytes", "pixels", "scene")
    found = [pair for pair in pairs if labels[pair.a] != labels[pair.b]]
    return sorted(found, key=lambda pair: (order.index(pair.kind), -pair.score, pair.a, pair.b))


@dataclass(frozen=True)
class SmallClass:
    """A class whose images are in few groups.

    Attributes
    ----------
    label : int
        The class.
    n_images, n_groups : int
        How many images and groups it has.
    largest : int
        How many of its images are in its largest group.
    """

    label: int
    n_images: int
    n_groups: int
    largest: int


def small_classes(
    groups: NDArray[np.int64] | Sequence[int], labels: NDArray[np.int64] | Sequence[int], least: int = 3
) -> list[SmallClass]:
    """Tell which classes are left with too few groups to train, to validate and to hold out.

    Parameters
    ----------
    groups : (n,) int array
        Each image's group.
    labels : (n,) int array
        Each image's class.
    least : int, optional
        How many groups a class needs.

    Returns
    -------
    list of SmallClass
        Those with fewer, by label; empty where all is well.
    """
    found = []
    groups, labels = np.asarray(groups), np.asarray(labels)
    for label in np.unique(labels):
        _, sizes = np.unique(groups[labels == label], return_counts=True)
        if len(sizes) < least:
            found.append(SmallClass(int(label), int(sizes.sum()), len(sizes), int(sizes.max())))
    return found
