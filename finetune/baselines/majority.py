"""The lowest floor: every image is called what most training images are."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested
from finetune.method import Images, Task

__all__ = ["SPACE", "Majority", "Options", "cross_validate", "fit"]

SPACE = "pixels"


@dataclass(frozen=True)
class Options:
    """Nothing to set."""


@dataclass(frozen=True, eq=False)
class Majority:
    """A fitted floor; attributes as in :class:`finetune.method.Trained`."""

    log_shares: NDArray[np.float64]
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trained_parameters: int = 0

    def logits(self, images: Images) -> NDArray[np.float64]:
        """Return the logarithms of the classes' shares of the training images, for every image alike."""
        return np.tile(self.log_shares, (len(images), 1))

    def save(self, folder: Path) -> None:
        """Write the shares."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "majority.json").write_text(json.dumps(self.log_shares.tolist()), encoding="utf-8")


def fit(task: Task, backbone: Any, options: Options) -> Majority:
    """Count the classes.

    Parameters
    ----------
    task : Task
        Training images.
    backbone
        Not used.
    options : Options

    Returns
    -------
    Majority
    """
    y = task.train.labels
    right = [(y[rows] == _most(y[train])).mean() for train, rows in task.folds.pairs]
    choice = {
        "cv_accuracy": float(np.mean(right)),
        "cv_std": float(np.std(right)),
        "cv_folds": task.folds.n_folds,
    }
    counts = np.bincount(y, minlength=len(task.classes))
    # One image more, spread over all classes, keeps a class without training images possible.
    return Majority(np.log((counts + 1 / len(counts)) / (len(y) + 1)), choice)


def cross_validate(task: Task, nested: Nested, options: Options) -> list[NDArray[np.int64]]:
    """Predict every outer fold; see :func:`finetune.strategies.probe.cross_validate`."""
    y = task.train.labels
    return [np.full(len(rows), _most(y[train])) for train, rows in nested.outer]


def _most(y: NDArray[np.int64]) -> int:
    return int(np.bincount(y).argmax())
