"""The contract of what is fitted on features: scores for new features, and arrays that can be saved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Head"]

Array = NDArray[np.floating[Any]]


class Head(ABC):
    """A classifier on features, as a function of arrays.

    Attributes
    ----------
    kind : str
        Its name in a saved model; see :mod:`finetune.runs.saved`.
    torch_code : str
        A line that computes ``scores`` (c,) with torch from the features ``X`` (d,) of an image and the saved
        arrays ``head``, for :mod:`finetune.runs.readme`; empty where one line is not enough.
    """

    kind: ClassVar[str]
    torch_code: ClassVar[str] = ""

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Number of classes, c."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """How many numbers were learned."""

    @abstractmethod
    def decision_function(self, X: Array) -> Array:
        """Return scores, (n, c), of features (n, d); their softmax is the class probabilities."""

    def gradient(self, X: Array, classes: NDArray[np.int64]) -> Array:
        """Return how each row's score of its class changes with its features.

        The score is taken relative to the mean of all classes' scores, which the softmax ignores. Unless a
        head knows better, the derivative is a difference quotient.

        Parameters
        ----------
        X : (n, d) array
            Features of some images: each costs 2 d evaluations.
        classes : (n,) int array
            A class for each.

        Returns
        -------
        (n, d) array
        """
        slopes = np.empty(X.shape)
        for row, (x, c) in enumerate(zip(X.astype(np.float64), classes, strict=True)):
            # Wide enough for float32, and for a neighbourhood to have an effect.
            step = 1e-2 * (float(np.abs(x).mean()) or 1.0)
            steps = step * np.eye(len(x))
            up, down = (_relative(self.decision_function(x + s))[:, c] for s in (steps, -steps))
            slopes[row] = (up - down) / (2 * step)
        return slopes

    @abstractmethod
    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with its scores divided by a number."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what has to be saved, by name."""

    def settings(self) -> dict[str, Any]:
        """Return the plain values that have to be saved beside the arrays."""
        return {}

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Make the head again from what :meth:`arrays` and :meth:`settings` returned."""


def _relative(scores: Array) -> Array:
    """Scores minus the mean over the classes."""
    return np.asarray(scores - scores.mean(axis=1, keepdims=True))
