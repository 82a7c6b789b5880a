"""What a strategy is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finetune.data.split import Folds

__all__ = ["Images", "Task", "Trained"]


def _unsaid(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their features.

    Attributes
    ----------
    paths : tuple of Path
        The n files.
    labels : (n,) int array
        Class indices.
    X : (n, d) float32 array
        The frozen backbone's features.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    X: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: NDArray[np.int64]) -> "Images":
        """Take some of the images, in the order wanted."""
        return Images(tuple(self.paths[i] for i in rows), self.labels[rows], self.X[rows])


@dataclass(frozen=True, eq=False)
class Task:
    """All that a strategy may learn from: training images only.

    Attributes
    ----------
    train : Images
        The training part.
    folds : Folds
        Its cross-validation; every choice is made on these.
    classes : tuple of str
        Class names, in the order of the labels.
    seed : int
        Of anything random.
    engine, precision : str
        What runs frozen parts of a network, as in :func:`zoo.engines.build`.
    checkpoints : Path or None
        Folder for what a training that is stopped can go on from; None keeps nothing.
    checkpoint_minutes : float
        How often that is written, besides at the end of each epoch.
    say : callable
        Told in one line of what the user may want to know while it runs.
    """

    train: Images
    folds: Folds
    classes: tuple[str, ...]
    seed: int = 0
    engine: str = "auto"
    precision: str = "fp32"
    checkpoints: Path | None = None
    checkpoint_minutes: float = 1.0
    say: Callable[[str], None] = _unsaid


class Trained(Protocol):
    """What a strategy gives back.

    Attributes
    ----------
    choice : dict
        What was chosen by cross-validation and how it fared: ``cv_accuracy``, ``cv_std``, …
    log : list of dict
        Lines for ``metrics.jsonl``.
    warnings : list of str
        What the user should know before trusting the result.
    trained_parameters : int
        How many numbers were learned.
    """

    choice: dict[str, Any]
    log: list[dict[str, Any]]
    warnings: list[str]

    @property
    def trained_parameters(self) -> int:
        """How many numbers were learned."""

    def logits(self, images: Images) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, in timm's layout where it has one for such a classifier."""
