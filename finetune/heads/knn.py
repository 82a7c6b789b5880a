"""k nearest neighbours: the head that predicts, and the choice of k, metric and weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan
from finetune.heads.distances import DISTANCES
from finetune.heads.head import Head
from finetune.heads.neighbours import WEIGHTS, Nearest, nearest_in_parts, votes, winners_over_k

__all__ = ["Candidate", "NeighbourSearch", "Neighbours", "log_shares"]

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Neighbours(Head):
    """The training images' features, and how the nearest of them vote.

    Attributes
    ----------
    X : (n, d) float32 array
    y : (n,) int array
        Class indices.
    classes : int
        Number of classes, `c`.
    k : int
        How many neighbours vote.
    metric : str
        ``l1``, ``l2`` or ``cosine``.
    weights : str
        ``uniform``, or ``distance``: a vote counts 1 / distance.
    temperature : float
        Divides the scores, so that their softmax is calibrated.
    """

    kind = "knn"

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int
    k: int
    metric: str
    weights: str
    temperature: float = 1.0

    @property
    def n_classes(self) -> int:
        """Number of classes, c."""
        return self.classes

    @property
    def n_parameters(self) -> int:
        """None: nothing is learned, the features are stored."""
        return 0

    def decision_function(self, X: Array) -> Array:
        """Return scores, (m, c), whose softmax is the class probabilities."""
        from sklearn.neighbors import KNeighborsClassifier

        voters = KNeighborsClassifier(self.k, weights=self.weights, algorithm="brute", metric=self.metric)
        voters.fit(self.X, self.y)
        shares = np.zeros((len(X), self.classes))
        if len(X):
            shares[:, voters.classes_] = voters.predict_proba(X)
        return log_shares(shares, self.k) / self.temperature

    def gradient(self, X: Array, classes: NDArray[np.int64]) -> Array:
        """Return from the nearest neighbours of all other classes to those of each row's class.

        Votes change in jumps, so that their derivative says nothing. What moves an image towards its class is
        the difference between the means of the k nearest training images of the class and of all others:
        half the derivative of the difference of their mean squared distances.
        """
        from finetune.heads.distances import ranks

        far = np.asarray(ranks(X, self.X, self.metric))
        return np.stack(
            [
                self._nearest_mean(row, self.y == c) - self._nearest_mean(row, self.y != c)
                for row, c in zip(far, classes, strict=True)
            ]
        )

    def _nearest_mean(self, far: Array, among: NDArray[np.bool_]) -> Array:
        """Mean of the k nearest training images among some of them."""
        rows = np.flatnonzero(among)
        return np.asarray(self.X[rows[np.argsort(far[rows], kind="stable")[: self.k]]].mean(axis=0))

    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with its scores divided by a number."""
        return replace(self, temperature=self.temperature * temperature)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the features and classes."""
        return {"X": self.X, "y": self.y}

    def settings(self) -> dict[str, Any]:
        """Return all that is not an array."""
        return {name: getattr(self, name) for name in ("classes", "k", "metric", "weights", "temperature")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Make the head again from what :meth:`arrays` and :meth:`settings` returned."""
        return cls(arrays["X"], arrays["y"], **settings)


def log_shares(shares: Array, k: int) -> Array:
    """Turn shares of votes into logarithms of probabilities.

    One vote more is spread evenly over all classes (a Dirichlet prior of weight 1): otherwise a class
    without a neighbour among the k would be impossible, and one mistake would cost infinitely much.

    Parameters
    ----------
    shares : (m, c) array
        Each row sums to 1.
    k : int
        How many neighbours voted.

    Returns
    -------
    (m, c) array
        In the order of the shares.
    """
    return np.asarray(np.log((k * shares + 1 / shares.shape[1]) / (k + 1)))


class Candidate(NamedTuple):
    """One combination of settings."""

    k: int
    metric: str
    weights: str


class NeighbourSearch:
    """The accuracy of every candidate on every part of a plan.

    Parameters
    ----------
    X : (n, d) array
        Features.
    y : (n,) int array
        Class indices.
    n_classes : int
        Number of classes.
    plan : Plan
        Over these n rows.
    max_k : int
        The largest number of neighbours tried.
    metric, weights : str or None
        One of them only; None tries all.

    Attributes
    ----------
    k : int
        The largest number of neighbours that could be tried.
    """

    def __init__(
        self,
        X: Array,
        y: NDArray[np.int64],
        n_classes: int,
        plan: Plan,
        max_k: int,
        metric: str | None = None,
        weights: str | None = None,
    ) -> None:
        self._X, self._y, self._n_classes, self._plan = X, y, n_classes, plan
        self._weightings = (weights,) if weights else WEIGHTS
        self.k = min(max_k, *(len(train) for train in plan.trains))
        self._nearest: dict[str, list[list[Nearest]]] = {
            distance: nearest_in_parts(X, plan, distance, self.k)
            for distance in ((metric,) if metric else DISTANCES)
        }
        self._accuracies = [self._judge(choice) for choice in range(len(plan.choices))]

    def best(self, choice: int = 0) -> Candidate:
        """The most accurate; among equals the smallest k, then the metric and weighting named first."""
        means = {key: parts.mean(axis=0) for key, parts in self._accuracies[choice].items()}
        # Rounded, so that equal shares of correct answers are equal however they were added up.
        _, negative_k, _, key = max(
            (round(float(means[key][k - 1]), 12), -k, -i, key)
            for i, key in enumerate(means)
            for k in range(1, self.k + 1)
        )
        return Candidate(-negative_k, *key)

    def curve(self, choice: int = 0) -> list[dict[str, Any]]:
        """Return every candidate with its accuracy."""
        return [
            {
                "metric": metric,
                "weights": weights,
                "k": k,
                "cv_accuracy": float(parts[:, k - 1].mean()),
                "cv_std": float(parts[:, k - 1].std()),
            }
            for (metric, weights), parts in self._accuracies[choice].items()
            for k in range(1, self.k + 1)
        ]

    def out_of_fold(self) -> Array:
        """Return the best candidate's scores on a plain plan's held-out rows, (n, c), in their order."""
        best = self.best()
        found = np.empty((len(self._y), self._n_classes))
        for (neighbours, far), (_, rows) in zip(
            self._nearest[best.metric][0], self._plan.choices[0], strict=True
        ):
            counted = self._votes(neighbours, far, best)
            found[rows] = log_shares(counted / counted.sum(axis=1, keepdims=True), best.k)
        return found

    def predict_outer(self, nested: Nested) -> list[NDArray[np.int64]]:
        """Predict every outer fold with what was chosen inside it.

        Parameters
        ----------
        nested : Nested
            The plan that was searched.

        Returns
        -------
        list of int arrays
            Predicted classes of each outer fold's held-out rows.
        """
        outer = Plan(
            [train for train, _ in nested.outer], [[(i, rows)] for i, (_, rows) in enumerate(nested.outer)]
        )
        bests = [self.best(i) for i in range(len(nested.outer))]
        predictions: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(bests)
        for metric in {best.metric for best in bests}:
            most = max(best.k for best in bests if best.metric == metric)
            found = nearest_in_parts(self._X, outer, metric, most)
            for i, best in enumerate(bests):
                if best.metric == metric:
                    predictions[i] = self._votes(*found[i][0], best).argmax(axis=1)
        return predictions

    def _votes(self, neighbours: NDArray[np.int64], far: Array, best: Candidate) -> Array:
        labels = self._y[neighbours[:, : best.k]]
        return votes(labels, far[:, : best.k], best.weights, self._n_classes)

    def _judge(self, choice: int) -> dict[tuple[str, str], NDArray[np.float64]]:
        """For each metric and weighting, the accuracy on each part by each k, (parts, k)."""
        return {
            (metric, weights): np.array(
                [
                    (
                        winners_over_k(self._y[neighbours], far, weights, self._n_classes)
                        == self._y[rows][:, None]
                    ).mean(axis=0)
                    for (neighbours, far), (_, rows) in zip(
                        nearest[choice], self._plan.choices[choice], strict=True
                    )
                ]
            )
            for metric, nearest in self._nearest.items()
            for weights in self._weightings
        }
