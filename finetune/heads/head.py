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
