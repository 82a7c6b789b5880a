"""What a method trains, as the checks of a training use it: one interface for a head and for a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from finetune.method import Images

__all__ = ["Memorised", "Step", "Trainable", "draw"]

Rows = NDArray[np.int64]
T = TypeVar("T")

#: Given a layer's name, its kind (``relu``, ``tanh``, ..., or ``scores``) and its output, (n, units, ...).
Measure = Callable[[str, str, NDArray[np.float32]], T]


@dataclass(frozen=True)
class Memorised:
    """A fit of a few images with next to no regularisation.

    Attributes
    ----------
    accuracy, loss : float
        On these images.
    wrong : int array
        Rows that are still predicted wrongly.
    how : str
        What was done, in a few words.
    """

    accuracy: float
    loss: float
    wrong: Rows
    how: str


@dataclass(frozen=True)
class Step:
    """One update.

    Attributes
    ----------
    loss : float
        Mean loss before it.
    ratio : float
        Norm of the update over that of the parameters.
    """

    loss: float
    ratio: float


class Trainable(ABC):
    """What a method trains, on a few of the training images.

    Attributes
    ----------
    images : Images
        The few images.
    seed : int
    lrs : tuple of float
        Learning rates that the method would try; empty where a solver needs none.
    lr_given : bool
        Whether the user gave the learning rate.
    n_updates : int
        How many updates the method would make with all training images.
    loss_at_start : float
        The loss of a classifier that knows nothing.
    is_network : bool
        Whether the network's own parameters are trained.
    """

    is_network: ClassVar[bool] = False

    images: Images
    seed: int
    lrs: tuple[float, ...]
    lr_given: bool
    n_updates: int
    loss_at_start: float

    def rows(self, n: int) -> Rows:
        """Return rows of `images`, the classes as evenly as possible."""
        return draw(self.images.labels, n, self.seed)

    @abstractmethod
    def memorise(self, rows: Rows) -> Memorised | None:
        """Fit some images with next to no regularisation; None where the loss diverged."""

    @abstractmethod
    def steps(self, rows: Rows, lrs: Sequence[float]) -> Iterator[Step]:
        """Start anew with a random classifier and update once at each learning rate, always on the same rows.

        It ends early where the loss is not finite any more.
        """

    @abstractmethod
    def layers(self, rows: Rows, measure: Measure[T]) -> list[T]:
        """Return what `measure` makes of the output of each activation function and of the classifier."""


def draw(labels: NDArray[np.int64], n: int, seed: int) -> Rows:
    """Draw rows, the classes as evenly as possible.

    Parameters
    ----------
    labels : (m,) int array
    n : int
        How many at most.
    seed : int

    Returns
    -------
    int array
        Ascending.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # how many of an image's class come before it
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        turn[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:n])


def norm(arrays: Sequence[Any]) -> float:
    """Return the Euclidean norm of all entries of several arrays."""
    return float(np.sqrt(sum(float(np.vdot(a, a)) for a in arrays)))
