"""k nearest neighbours on a frozen backbone's features: nothing is trained, everything is remembered.

How many neighbours vote, by which distance, and whether near ones count more, is chosen by
cross-validation inside the training part. The distances between training images are computed once for
each distance and serve every k and every fold; see :mod:`finetune.heads.neighbours`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan, plain
from finetune.errors import OptionError
from finetune.evaluation.calibration import fit_temperature
from finetune.heads.distances import DISTANCES, ranks
from finetune.heads.neighbours import (
    WEIGHTS,
    Nearest,
    k_nearest,
    nearest_in_parts,
    votes,
    winners,
    winners_over_k,
)
from finetune.method import Images, Task
from finetune.runs.saved import save_backbone
from zoo.backbone import Backbone

__all__ = ["KNN", "Neighbours", "Options", "cross_validate", "fit"]

#: The arrays' file in a model's folder.
FILE = "knn.safetensors"


@dataclass(frozen=True)
class Options:
    """What a user may set.

    Attributes
    ----------
    max_k : int
        The largest number of neighbours tried.
    distance : str or None
        ``l1``, ``l2`` or ``cosine``; by default all are tried.
    weights : str or None
        ``uniform`` or ``distance``, by which a vote counts 1 / distance; by default both are tried.
    """

    max_k: int = 50
    distance: str | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.max_k < 1:
            raise OptionError(f"max_k is {self.max_k}.", "Give 1 or more.")
        for what, value, known in (
            ("distance", self.distance, DISTANCES),
            ("weighting", self.weights, WEIGHTS),
        ):
            if value is not None and value not in known:
                raise OptionError(f"There is no {what} {value!r}.", f"Choose one of: {', '.join(known)}.")


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Remembered images, and how they vote.

    Attributes
    ----------
    X : (n, d) float32 array
        Their features.
    y : (n,) int array
        Their classes.
    n_classes : int
        Number of classes, `c`.
    k : int
        How many neighbours vote.
    distance, weights : str
        As in :class:`Options`.
    temperature : float
        Divides the scores, so that their softmax is calibrated.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    n_classes: int
    k: int
    distance: str
    weights: str
    temperature: float = 1.0

    def votes(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the votes for each class, (m, c)."""
        neighbours, far = k_nearest(ranks(X, self.X, self.distance), self.k, self.distance)
        return votes(self.y[neighbours], far, self.weights, self.n_classes)

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return class indices, (m,), as scikit-learn's ``KNeighborsClassifier`` does."""
        return winners(self.votes(X))

    def scores(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scores, (m, c), whose softmax is the class probabilities."""
        return log_shares(self.votes(X), self.k) / self.temperature

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the arrays into `folder`, and return what else is needed to :meth:`load` them."""
        from safetensors.numpy import save

        (folder / FILE).write_bytes(save({"X": np.ascontiguousarray(self.X), "y": self.y}))
        names = ("n_classes", "k", "distance", "weights", "temperature")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what :meth:`save` wrote and returned."""
        from safetensors.numpy import load_file

        arrays = load_file(folder / FILE)
        return cls(arrays["X"], arrays["y"], **settings)


def log_shares(counted: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Turn votes into logarithms of probabilities.

    One vote more is spread evenly over all classes (a Dirichlet prior of weight 1): otherwise a class
    without a neighbour among the k would be impossible, and one mistake would cost infinitely much.

    Parameters
    ----------
    counted : (m, c) array
        Votes; weighted ones are scaled to k in all.
    k : int
        How many neighbours voted.

    Returns
    -------
    (m, c) array
        In the order of the votes.
    """
    shares = counted / counted.sum(axis=1, keepdims=True)
    return np.log((k * shares + 1 / counted.shape[1]) / (k + 1))


@dataclass(frozen=True, eq=False)
class KNN:
    """A fitted baseline; attributes as in :class:`finetune.method.Trained`."""

    backbone: Backbone
    head: Neighbours
    classes: tuple[str, ...]
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trained_parameters: int = 0

    def logits(self, images: Images) -> NDArray[np.float64]:
        """Return calibrated scores, (n, c); the class with most votes has the highest."""
        return self.head.scores(images.X)

    def save(self, folder: Path) -> None:
        """Write the backbone and the remembered features into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_backbone(
            folder, self.backbone, {"knn": self.head.save(folder), "label_names": list(self.classes)}
        )


def fit(task: Task, backbone: Backbone, options: Options) -> KNN:
    """Choose k, distance and weights by cross-validation, and remember the training images.

    Parameters
    ----------
    task : Task
        Training images with their features.
    backbone : Backbone
        What the features came from; saved with them.
    options : Options

    Returns
    -------
    KNN
        The most accurate of all candidates; among equals the fewest neighbours, then the first distance.
    """
    search = _Search(task, plain(task.folds), options)
    best = search.best(0)
    parts = search.neighbours[best.distance][0]
    labels = search.y[np.concatenate([neighbours for neighbours, _ in parts])[:, : best.k]]
    far = np.concatenate([far for _, far in parts])[:, : best.k]
    counted = votes(labels, far, best.weights, search.n_classes)
    temperature = fit_temperature(log_shares(counted, best.k), search.y[search.plan.order(0)])
    head = Neighbours(
        task.train.X, search.y, search.n_classes, best.k, best.distance, best.weights, temperature
    )
    records = search.records(0)
    own = (best.distance, best.weights)
    curve = [record for record in records if (record["distance"], record["weights"]) == own]
    choice = {
        "k": best.k,
        "distance": best.distance,
        "weights": best.weights,
        "cv_accuracy": curve[best.k - 1]["cv_accuracy"],
        "cv_std": curve[best.k - 1]["cv_std"],
        "cv_folds": task.folds.n_folds,
        "temperature": temperature,
        "curve": [{key: r[key] for key in ("k", "cv_accuracy", "cv_std")} for r in curve],
    }
    log = [{"step": i, **record} for i, record in enumerate(records)]
    return KNN(backbone, head, task.classes, choice, log, search.warnings(best))


def cross_validate(task: Task, nested: Nested, options: Options) -> list[NDArray[np.int64]]:
    """Predict every outer fold with what is chosen and remembered outside it.

    Parameters
    ----------
    task : Task
        Training images; its folds are not used.
    nested : Nested
        The outer folds and the choices inside them.
    options : Options

    Returns
    -------
    list of int arrays
        Predicted classes of each outer fold's held-out rows.
    """
    search = _Search(task, nested, options)
    outer = Plan(
        [train for train, _ in nested.outer], [[(i, rows)] for i, (_, rows) in enumerate(nested.outer)]
    )
    bests = [search.best(i) for i in range(len(nested.outer))]
    predictions: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(bests)
    for distance in {best.distance for best in bests}:
        most = max(best.k for best in bests if best.distance == distance)
        found = nearest_in_parts(task.train.X, outer, distance, most)
        for i, best in enumerate(bests):
            if best.distance == distance:
                neighbours, far = found[i][0]
                labels = search.y[neighbours[:, : best.k]]
                counted = votes(labels, far[:, : best.k], best.weights, search.n_classes)
                predictions[i] = winners(counted)
    return predictions


class _Candidate(NamedTuple):
    k: int
    distance: str
    weights: str


class _Search:
    """The accuracy of every candidate on every part of a plan."""

    def __init__(self, task: Task, plan: Plan, options: Options) -> None:
        self.plan = plan
        self.y = task.train.labels
        self.n_classes = len(task.classes)
        self.distances = (options.distance,) if options.distance else DISTANCES
        self.weightings = (options.weights,) if options.weights else WEIGHTS
        self.max_k = options.max_k
        self.k = min(options.max_k, *(len(train) for train in plan.trains))
        self.neighbours: dict[str, list[list[Nearest]]] = {
            distance: nearest_in_parts(task.train.X, plan, distance, self.k) for distance in self.distances
        }
        self.accuracies = [self._accuracies(choice) for choice in range(len(plan.choices))]

    def _accuracies(self, choice: int) -> dict[tuple[str, str], NDArray[np.float64]]:
        """For each distance and weighting, the accuracy on each part by each k, (parts, k)."""
        return {
            (distance, weights): np.array(
                [
                    (
                        winners_over_k(self.y[neighbours], far, weights, self.n_classes)
                        == self.y[rows][:, None]
                    ).mean(axis=0)
                    for (neighbours, far), (_, rows) in zip(
                        self.neighbours[distance][choice], self.plan.choices[choice], strict=True
                    )
                ]
            )
            for distance in self.distances
            for weights in self.weightings
        }

    def best(self, choice: int) -> _Candidate:
        """The most accurate; among equals the smallest k, then the distance and weighting named first."""
        means = {key: parts.mean(axis=0) for key, parts in self.accuracies[choice].items()}
        # Rounded, so that equal shares of right answers are equal however they were added up.
        _, negative_k, _, key = max(
            (round(float(means[key][k - 1]), 12), -k, -i, key)
            for i, key in enumerate(means)
            for k in range(1, self.k + 1)
        )
        return _Candidate(-negative_k, *key)

    def records(self, choice: int) -> list[dict[str, Any]]:
        return [
            {
                "distance": distance,
                "weights": weights,
                "k": k,
                "cv_accuracy": float(parts[:, k - 1].mean()),
                "cv_std": float(parts[:, k - 1].std()),
            }
            for (distance, weights), parts in self.accuracies[choice].items()
            for k in range(1, self.k + 1)
        ]

    def warnings(self, best: _Candidate) -> list[str]:
        if best.k < self.k or self.k == 1:
            return []
        more = "try a larger --max-k" if self.k == self.max_k else "there are no more images to try more with"
        return [f"The best number of neighbours ({best.k}) is the largest of those tried: {more}."]
