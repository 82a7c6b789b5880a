"""The head that gives every image the same scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.heads.head import Head

__all__ = ["Constant"]


@dataclass(frozen=True, eq=False)
class Constant(Head):
    """The same scores for every image.

    Attributes
    ----------
    scores : (c,) array
    """

    kind = "constant"

    scores: NDArray[np.float64]

    @property
    def n_classes(self) -> int:
        """Number of classes, c."""
        return len(self.scores)

    @property
    def n_parameters(self) -> int:
        """Nothing is learned but how frequent the classes are."""
        return 0

    def decision_function(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores, once for each row of `X`."""
        return np.tile(self.scores, (len(X), 1))

    def gradient(self, X: NDArray[Any], classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return zeros: the scores do not depend on the features."""
        return np.zeros(X.shape)

    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with its scores divided by a number."""
        return type(self)(self.scores / temperature)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the scores."""
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Make the head again from what :meth:`arrays` returned."""
        return cls(arrays["scores"])
