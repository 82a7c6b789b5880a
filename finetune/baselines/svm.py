"""A linear support vector machine on a frozen backbone's features: scikit-learn's ``LinearSVC``.

One against the rest, squared hinge, on standardised features. C is chosen by cross-validation inside the
training part. That takes dozens of fits, so they are done side by side by the probe's solver, which has
the same optimum (see :func:`squared_hinge`); the model that is kept is fitted by ``LinearSVC`` itself.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan, plain
from finetune.errors import OptionError
from finetune.evaluation.calibration import fit_temperature
from finetune.heads.linear import Linear, Problems
from finetune.heads.regularisation import TOLERANCE, Strengths
from finetune.method import Images, Task
from finetune.runs.saved import save_model
from finetune.strategies.probe import NESTED_TOLERANCE, balanced
from zoo.backbone import Backbone

__all__ = ["SVM", "Options", "cross_validate", "fit", "squared_hinge"]

#: ``LinearSVC`` penalises the intercept, like a weight on a constant feature of this size: at 10, a
#: hundredth as much as any other weight, which no longer shows in its predictions.
INTERCEPT_SCALING = 10.0

#: Where the walk starts and turns, in units of the probe's strengths. The squared hinge grows faster than
#: the softmax's loss and wants a stronger penalty.
FIRST, LAST = 100.0, 1e-1


@dataclass(frozen=True)
class Options:
    """What a user may set.

    Attributes
    ----------
    class_weight : str or None
        ``balanced`` lets every class count the same, however many images it has.
    """

    class_weight: str | None = None

    def __post_init__(self) -> None:
        if self.class_weight not in (None, "none", "balanced"):
            raise OptionError(f"There is no class weight {self.class_weight!r}.", "Choose: balanced or none.")


@dataclass(frozen=True, eq=False)
class SVM:
    """A fitted baseline; attributes as in :class:`finetune.method.Trained`."""

    backbone: Backbone
    classifier: Linear
    classes: tuple[str, ...]
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def trained_parameters(self) -> int:
        """Weights and biases of the classifier."""
        return self.classifier.W.size + self.classifier.b.size

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""
        return self.classifier.scores(images.X)

    def save(self, folder: Path) -> None:
        """Write the backbone with this classifier into `folder`, in timm's layout."""
        save_model(folder, self.backbone, self.classifier.W, self.classifier.b, self.classes)


def squared_hinge(
    scores: NDArray[np.float32], y: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Squared hinge loss of every class against the rest, and its derivative.

    ``sum_c max(0, 1 - s_c f_c)^2`` with s_c = 1 for the true class and -1 for any other. With a penalty of
    ``l2 / 2 |W|^2`` on its mean over n rows, and the intercept free, it has the optimum of ``LinearSVC`` with
    ``C = 1 / (l2 n)``, whose objective is ``|w|^2 / 2 + C sum max(0, 1 - s f)^2`` for each class (Fan et
    al. 2008, "LIBLINEAR: a library for large linear classification", JMLR 9).

    Parameters and returned values are those of :func:`finetune.heads.linear.softmax_loss`.
    """
    sign = np.full(scores.shape[1:], -1, scores.dtype)
    sign[y, np.arange(len(y))] = 1
    short = np.maximum(1 - sign * scores, 0)
    losses = np.einsum("pcn,pcn->pn", short, short)
    short *= -2 * sign
    return losses, short


def fit(task: Task, backbone: Backbone, options: Options) -> SVM:
    """Choose C by cross-validation and fit the classifier.

    Parameters
    ----------
    task : Task
        Training images with their features.
    backbone : Backbone
        What the features came from; saved with the classifier.
    options : Options

    Returns
    -------
    SVM
        Standardisation and temperature folded in. C is the most accurate; the smallest among equals.
    """
    plan = plain(task.folds)
    walked = _walk(task, plan, options, TOLERANCE)
    rows = float(np.mean([len(train) for train in plan.trains]))
    C = _penalty(walked.best().l2, rows)
    classifier = _linear_svc(task, C, options)
    temperature = fit_temperature(walked.best().held_out[0], task.train.labels[plan.order(0)])
    curve = []
    for point in walked.points:
        accuracies = walked.accuracies(point)
        record = {"cv_accuracy": float(accuracies.mean()), "cv_std": float(accuracies.std())}
        curve.append({"c": _penalty(point.l2, rows), **record})
    best = next(record for record in curve if record["c"] == C)
    choice = {
        "c": C,
        "class_weight": options.class_weight or "none",
        "cv_accuracy": best["cv_accuracy"],
        "cv_std": best["cv_std"],
        "cv_folds": task.folds.n_folds,
        "temperature": temperature,
        "curve": curve,
    }
    scaled = Linear(classifier.W / np.float32(temperature), classifier.b / np.float32(temperature))
    log = [{"step": i, **record} for i, record in enumerate(curve)]
    return SVM(backbone, scaled, task.classes, choice, log, _warnings(walked, C))


def cross_validate(task: Task, nested: Nested, options: Options) -> list[NDArray[np.int64]]:
    """Predict every outer fold with what is chosen and fitted outside it.

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
    return _walk(task, nested, options, NESTED_TOLERANCE).predict_outer(nested)


def _walk(task: Task, plan: Plan, options: Options, tolerance: float) -> Strengths:
    walked = Strengths(
        task.train.X,
        task.train.labels,
        plan,
        len(task.classes),
        squared_hinge,
        judge=lambda scores, y: float((scores.argmax(axis=1) != y).mean()),
        weigh=balanced if options.class_weight == "balanced" else np.ones_like,
        tolerance=tolerance,
    )
    walked.walk(FIRST, LAST)
    return walked


def _penalty(l2: float, rows: float) -> float:
    """C to three digits, so that it reads the same wherever it is printed."""
    return float(f"{1 / (l2 * rows):.3g}")


def _linear_svc(task: Task, C: float, options: Options) -> Linear:
    from sklearn.svm import LinearSVC

    X, y = task.train.X, task.train.labels
    # Standardised as in cross-validation, very small deviations floored.
    scales = Problems(X, y, np.ones((1, len(y)), np.float32), len(task.classes)).scale[0].astype(np.float64)
    mean = X.mean(axis=0, dtype=np.float64)
    svc = LinearSVC(
        C=C,
        class_weight=None if options.class_weight in (None, "none") else options.class_weight,
        intercept_scaling=INTERCEPT_SCALING,
        random_state=task.seed,
        max_iter=10_000,
    ).fit((X - mean) / scales, y)
    W, b = svc.coef_, svc.intercept_
    if len(task.classes) == 2:  # two classes have one decision, whose sign tells them apart
        W, b = np.concatenate([-W, W]), np.concatenate([-b, b])
    U = W / scales
    return Linear(U.astype(np.float32), (b - U @ mean).astype(np.float32))


def _warnings(walked: Strengths, C: float) -> list[str]:
    if not (end := walked.border()):
        return []
    which = "smallest" if end == "strongest" else "largest"
    return [f"The best C ({C:g}) is the {which} of those tried."]
