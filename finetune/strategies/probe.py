"""The linear probe: a softmax (or SVM) classifier on a frozen backbone's features.

The strength of the L2 penalty is chosen by cross-validation inside the training part, by the loss on
images not trained on; then one classifier is fitted to all training images with it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import OptionError
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.saved import save_model
from finetune.strategies.linear import LOSSES, Linear, Problems, solve
from finetune.task import Images, Task
from zoo.backbone import Backbone

__all__ = ["Options", "Probe", "balanced", "fit"]

# Strengths are tried in half decades from strong to weak, and beyond as long as the best is at the
# border, but no further than here: outside, the classifier is constant or the penalty without effect.
FIRST, LAST = 10.0, 1e-2
STRONGEST, WEAKEST = 1e3, 1e-5
HALF_DECADE = 10**0.5


@dataclass(frozen=True)
class Options:
    """What a user may set.

    Attributes
    ----------
    loss : str
        ``softmax`` or ``hinge``, the multi-class SVM loss.
    class_weight : str or None
        ``balanced`` lets every class count the same, however many images it has.
    """

    loss: str = "softmax"
    class_weight: str | None = None

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise OptionError(f"There is no loss {self.loss!r}.", f"Choose one of: {', '.join(LOSSES)}.")
        if self.class_weight not in (None, "none", "balanced"):
            raise OptionError(f"There is no class weight {self.class_weight!r}.", "Choose: balanced or none.")


@dataclass(frozen=True, eq=False)
class Probe:
    """A trained probe.

    Attributes
    ----------
    backbone : Backbone
        Unchanged by the training.
    classifier : Linear
        Standardisation and temperature folded in.
    classes : tuple of str
        Names of its outputs.
    choice, log, warnings
        As in :class:`finetune.task.Trained`.
    """

    backbone: Backbone
    classifier: Linear
    classes: tuple[str, ...]
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""
        return self.classifier.scores(images.X)

    def save(self, folder: Path) -> None:
        """Write the backbone with this classifier into `folder`, in timm's layout."""
        save_model(folder, self.backbone, self.classifier.W, self.classifier.b, self.classes)


def fit(task: Task, backbone: Backbone, options: Options) -> Probe:
    """Choose the L2 strength by cross-validation and fit the classifier.

    Parameters
    ----------
    task : Task
        Training images with their features.
    backbone : Backbone
        What the features came from; saved with the classifier.
    options : Options

    Returns
    -------
    Probe
    """
    X, y = task.train.X, task.train.labels
    loss = LOSSES[options.loss]
    even = options.class_weight == "balanced"
    search = _Search(task, options)
    search.run()
    best = search.best
    whole = Problems(X, y, _weights(y, [np.arange(len(y))], even), len(task.classes))
    # The folds' mean is near the solution on all images: a start, not a result.
    start = search.starts[best.l2].mean(axis=0, keepdims=True)
    classifier = whole.classifier(solve(whole, best.l2, loss, start=start, tolerance=1e-5))
    temperature = fit_temperature(best.held_out, y[search.order])
    calibrated = Linear(classifier.W / np.float32(temperature), classifier.b / np.float32(temperature))
    choice = {
        "loss": options.loss,
        "class_weight": options.class_weight or "none",
        "l2": best.l2,
        "cv_accuracy": best.record["cv_accuracy"],
        "cv_std": best.record["cv_std"],
        "cv_folds": task.folds.n_folds,
        "temperature": temperature,
        "curve": [point.record for point in search.points],
    }
    log = [{"step": i, **point.record} for i, point in enumerate(search.points)]
    return Probe(backbone, calibrated, task.classes, choice, log, search.warnings)


@dataclass(frozen=True, eq=False)
class _Point:
    """One strength: its record, the loss it is judged by, and the scores of held-out rows."""

    l2: float
    loss: float
    record: dict[str, float]
    held_out: NDArray[np.float32]


class _Search:
    """Cross-validation over L2 strengths, widened while the best is at the border."""

    def __init__(self, task: Task, options: Options) -> None:
        self.y = task.train.labels
        self.loss = LOSSES[options.loss]
        pairs = task.folds.pairs
        weights = _weights(self.y, [train for train, _ in pairs], options.class_weight == "balanced")
        self.problems = Problems(task.train.X, self.y, weights, len(task.classes))
        self.held_out = [held_out for _, held_out in pairs]
        self.order = np.concatenate(self.held_out)
        self.points: list[_Point] = []
        self.starts: dict[float, NDArray[np.float32]] = {}
        self.warnings: list[str] = []

    @property
    def best(self) -> _Point:
        return min(self.points, key=lambda point: point.loss)

    def run(self) -> None:
        """Walk from strong to weak; widen at either end while that is where the best is."""
        theta = None
        l2 = FIRST
        while l2 > LAST * 0.99 or (self.best is self.points[-1] and l2 > WEAKEST):
            theta = self._try(l2, theta)
            l2 = _rounded(l2 / HALF_DECADE)
        while self.best is self.points[0] and self.points[0].l2 < STRONGEST:
            self._try(_rounded(self.points[0].l2 * HALF_DECADE), None)
        if self.best in (self.points[0], self.points[-1]):
            end = "strongest" if self.best is self.points[0] else "weakest"
            self.warnings.append(
                f"The best L2 strength ({self.best.l2:g}) is the {end} of those tried: the classes may be "
                + ("unrelated to the features." if end == "strongest" else "separable whatever the strength.")
            )

    def _try(self, l2: float, theta: NDArray[np.float32] | None) -> NDArray[np.float32]:
        # Looser than the final fit: past this, accuracies no longer move (docs/performance.md).
        theta = solve(self.problems, l2, self.loss, start=theta, tolerance=3e-4)
        scores = self.problems.scores(theta)
        parts = [scores[fold][:, rows] for fold, rows in enumerate(self.held_out)]
        accuracies = [
            float((part.argmax(axis=0) == self.y[rows]).mean())
            for part, rows in zip(parts, self.held_out, strict=True)
        ]
        together = np.concatenate(parts, axis=1)
        truth = self.y[self.order]
        record = {
            "l2": l2,
            "cv_accuracy": float(np.mean(accuracies)),
            "cv_std": float(np.std(accuracies)),
            "cv_loss": float(self.loss(together[None], truth)[0].mean()),
            "log_loss": log_loss(truth, softmax(together.T)),
        }
        point = _Point(l2, record["cv_loss"], record, together.T)
        self.points = sorted([*self.points, point], key=lambda p: -p.l2)
        self.starts[l2] = theta
        return theta


def _weights(y: NDArray[np.int64], parts: list[NDArray[np.int64]], even: bool) -> NDArray[np.float32]:
    """Sample weights, one row a training part; zero for what is not in it."""
    weights = np.zeros((len(parts), len(y)), np.float32)
    for row, part in zip(weights, parts, strict=True):
        row[part] = balanced(y[part]) if even else 1
    return weights


def balanced(y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights, mean 1, under which every class of `y` counts the same."""
    counts = np.bincount(y)
    return len(y) / (np.count_nonzero(counts) * counts[y])


def _rounded(l2: float) -> float:
    """Two digits, so that a strength reads the same wherever it is printed."""
    return float(f"{l2:.2g}")
