"""What every classifier of images gives, whether it is a run's or an exported one."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.images.decode import UnreadableImage

__all__ = ["BasePredictor", "Predictions"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for some images.

    Attributes
    ----------
    paths : list of Path
        The n images that could be read, in the order given.
    features : (n, d) array
        The network's last features, or what else a head without a network was given.
    scores : (n, c) array
        Calibrated scores.
    probabilities : (n, c) float64 array
        Their softmax.
    skipped : list of UnreadableImage
        Why the others could not be read.
    """

    paths: list[Path]
    features: NDArray[np.float32]
    scores: NDArray[np.floating[Any]]
    probabilities: NDArray[np.float64]
    skipped: list[UnreadableImage]


class BasePredictor(ABC):
    """What predicts: a run's classifier, or an exported one.

    Attributes
    ----------
    classes : tuple of str
        Class names, in the order of the outputs.
    """

    classes: tuple[str, ...]

    @abstractmethod
    def predict_all(self, paths: Sequence[str | os.PathLike[str]]) -> Predictions:
        """Return everything about some images, leaving out those that cannot be read."""

    def decision_function(self, paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c), as the saved model gives them in timm.

        Raises
        ------
        UnreadableImage
            If an image cannot be read.
        """
        found = self.predict_all(paths)
        if found.skipped:
            raise found.skipped[0]
        return found.scores

    def predict_proba(self, paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.float64]:
        """Return class probabilities, (n, c); raises as :meth:`decision_function` does."""
        found = self.predict_all(paths)
        if found.skipped:
            raise found.skipped[0]
        return found.probabilities

    def predict(self, paths: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Return the name of each image's most probable class; raises as :meth:`decision_function` does."""
        return [self.classes[i] for i in self.decision_function(paths).argmax(axis=1)]
