"""A floor: nearest neighbours by an image's own colours, 32 x 32 pixels, without any CNN."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.baselines import knn
from finetune.baselines.knn import Options
from finetune.data.plan import Nested
from finetune.method import Task

__all__ = ["SPACE", "Options", "RawKNN", "cross_validate", "fit"]

SPACE = "pixels"


class RawKNN(knn.KNN):
    """A fitted floor; attributes as in :class:`finetune.method.Trained`."""

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        self.head.save(folder)


def fit(task: Task, backbone: Any, options: Options) -> RawKNN:
    """Choose k, distance and weights on pixels; see :func:`finetune.baselines.knn.fit`."""
    return RawKNN(**vars(knn.fit(task, backbone, options)))


def cross_validate(task: Task, nested: Nested, options: Options) -> list[NDArray[np.int64]]:
    """Predict every outer fold; see :func:`finetune.baselines.knn.cross_validate`."""
    return knn.cross_validate(task, nested, options)
