"""Several heads on one network's features whose probabilities are averaged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.calibration import softmax
from finetune.heads.head import Head
from finetune.runs.saved import head_class

__all__ = ["Ensemble", "Member", "averaged"]

Array = NDArray[np.floating[Any]]

#: Below this, a probability's logarithm is cut off.
SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Member:
    """One of the heads.

    Attributes
    ----------
    head : Head
        Calibrated.
    features : str
        What it reads: ``last`` features, or those of all ``stages``.
    weight : float
        Its share in the average.
    """

    head: Head
    features: str
    weight: float


def averaged(scores: list[Array], weights: list[float]) -> NDArray[np.float64]:
    """Return the logarithms of averaged probabilities, (n, c).

    Parameters
    ----------
    scores : list of (n, c) arrays
        Calibrated scores of each member.
    weights : list of float
        Which sum to 1.
    """
    mean = sum(weight * softmax(each) for weight, each in zip(weights, scores, strict=True))
    return np.asarray(np.log(np.maximum(mean, SMALLEST)))


@dataclass(frozen=True, eq=False)
class Ensemble(Head):
    """Heads whose probabilities are averaged.

    Attributes
    ----------
    members : tuple of Member
    n_last : int or None
        How many columns, the first ones, are last features; None where all are.
    temperature : float
        Divides the logarithms of the averaged probabilities.
    """

    kind = "ensemble"

    members: tuple[Member, ...]
    n_last: int | None
    temperature: float = 1.0

    @property
    def n_classes(self) -> int:
        """Number of classes, c."""
        return self.members[0].head.n_classes

    @property
    def n_parameters(self) -> int:
        """Those of all members."""
        return sum(member.head.n_parameters for member in self.members)

    def decision_function(self, X: Array) -> Array:
        """Return scores, (n, c), whose softmax is the class probabilities."""
        scores = [
            member.head.decision_function(X if member.features == "stages" else X[:, : self.n_last])
            for member in self.members
        ]
        return averaged(scores, [member.weight for member in self.members]) / self.temperature

    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with its scores divided by a number."""
        return replace(self, temperature=self.temperature * temperature)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the members' arrays, each with its place before its name."""
        return {
            f"{place}.{name}": array
            for place, member in enumerate(self.members)
            for name, array in member.head.arrays().items()
        }

    def settings(self) -> dict[str, Any]:
        """Return all that is not an array."""
        members = [
            {
                "kind": member.head.kind,
                "features": member.features,
                "weight": member.weight,
                "settings": member.head.settings(),
            }
            for member in self.members
        ]
        return {"members": members, "n_last": self.n_last, "temperature": self.temperature}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Make the head again from what :meth:`arrays` and :meth:`settings` returned."""
        members = []
        for place, about in enumerate(settings["members"]):
            own = {
                name.partition(".")[2]: array
                for name, array in arrays.items()
                if name.partition(".")[0] == str(place)
            }
            head = head_class(about["kind"]).from_arrays(own, about["settings"])
            members.append(Member(head, about["features"], about["weight"]))
        return cls(tuple(members), settings["n_last"], settings["temperature"])
