"""The probe: a linear softmax (or SVM) classifier on a frozen backbone's features.

The strength of the L2 penalty is chosen by cross-validation inside the training part, by the loss on
images not trained on; then one classifier is fitted to all training images with it. With ``head`` set to
``mlp`` there is a hidden layer besides: :mod:`finetune.heads.hidden`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan, plain
from finetune.errors import OptionError
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.heads import hidden
from finetune.heads.hidden import HiddenProbe
from finetune.heads.linear import LOSSES, Linear
from finetune.heads.mlp import ACTIVATIONS
from finetune.heads.regularisation import TOLERANCE, Point, Strengths, Weigh
from finetune.method import Images, Task
from finetune.runs.saved import save_model
from zoo.backbone import Backbone

__all__ = [
    "HEADS",
    "NESTED_TOLERANCE",
    "Options",
    "Probe",
    "balanced",
    "cross_validate",
    "fit",
    "walk",
    "weigh",
]

HEADS = ("linear", "mlp")

#: Of the fits that only estimate how good the whole procedure is: their choices are the same, and so,
#: to a fraction of an image, are their accuracies.
NESTED_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Options:
    """What a user may set.

    Attributes
    ----------
    loss : str
        ``softmax`` or ``hinge``, the multi-class SVM loss.
    class_weight : str or None
        ``balanced`` lets every class count the same, however many images it has.
    head : str
        ``linear``, or ``mlp`` for a hidden layer before it.
    l2 : float or None
        Strength of the penalty; by default the best of some.
    activation : str or None
        mlp: one of :data:`finetune.heads.mlp.ACTIVATIONS`; by default relu.
    hidden : int or None
        mlp: units of the hidden layer.
    rate, epochs, momentum : float, int, float, or None
        mlp: of its gradient descent.
    """

    loss: str = "softmax"
    class_weight: str | None = None
    head: str = "linear"
    l2: float | None = None
    activation: str | None = None
    hidden: int | None = None
    rate: float | None = None
    epochs: int | None = None
    momentum: float | None = None

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise OptionError(f"There is no head {self.head!r}.", f"Choose one of: {', '.join(HEADS)}.")
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise OptionError(
                f"There is no activation {self.activation!r}.", f"Choose one of: {', '.join(ACTIVATIONS)}."
            )
        self._check_numbers()
        if self.loss not in LOSSES:
            raise OptionError(f"There is no loss {self.loss!r}.", f"Choose one of: {', '.join(LOSSES)}.")
        if self.class_weight not in (None, "none", "balanced"):
            raise OptionError(f"There is no class weight {self.class_weight!r}.", "Choose: balanced or none.")

    def _check_numbers(self) -> None:
        for name, low, high, mlp_only in _NUMBERS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # `not`, so that nan is outside too
                raise OptionError(
                    f"The {name} {value:g} is no use.", f"Give --{name} a number from {low:g} to {high:g}."
                )
            if value is not None and mlp_only and self.head != "mlp":
                raise OptionError(
                    f"A linear head has no {name}: it is solved for.",
                    f"Leave out --{name}, or add --head mlp.",
                )
        if self.activation is not None and self.head != "mlp":
            raise OptionError(
                "A linear head has no activation.", "Leave out --activation, or add --head mlp."
            )


#: What may be set, between which bounds, and whether a hidden layer is needed for it.
_NUMBERS = (
    ("l2", 1e-12, 1e6, False),
    ("hidden", 1, 65_536, True),
    ("rate", 1e-12, 100, True),
    ("epochs", 1, 100_000, True),
    ("momentum", 0, 0.9999, True),
)


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
        As in :class:`finetune.method.Trained`.
    """

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


def fit(task: Task, backbone: Backbone, options: Options) -> Probe | HiddenProbe:
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
    Probe or HiddenProbe
    """
    if options.head == "mlp":
        return hidden.fit(task, backbone, options, weigh(options))
    return fit_linear(task, backbone, options)


def fit_linear(task: Task, backbone: Backbone, options: Options) -> Probe:
    """Fit a linear head; parameters are those of :func:`fit`."""
    plan = plain(task.folds)
    search = walk(task, plan, options, TOLERANCE)
    classifier = search.classifier()
    temperature = fit_temperature(search.best().held_out[0], task.train.labels[plan.order(0)])
    calibrated = Linear(classifier.W / np.float32(temperature), classifier.b / np.float32(temperature))
    curve = [_record(search, point, task.train.labels) for point in search.points]
    best = curve[[point.l2 for point in search.points].index(search.best().l2)]
    choice = {
        "loss": options.loss,
        "class_weight": options.class_weight or "none",
        "l2": best["l2"],
        "cv_accuracy": best["cv_accuracy"],
        "cv_std": best["cv_std"],
        "cv_folds": task.folds.n_folds,
        "temperature": temperature,
        "curve": curve,
    }
    log = [{"step": i, **record} for i, record in enumerate(curve)]
    warnings = _warnings(search) if options.l2 is None else []
    return Probe(backbone, calibrated, task.classes, choice, log, warnings)


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
    if options.head != "linear":
        raise ValueError("folds are solved together for a linear head only")
    return walk(task, nested, options, NESTED_TOLERANCE).predict_outer(nested)


def walk(task: Task, plan: Plan, options: Options, tolerance: float) -> Strengths:
    """Try the strengths, or the one that is given.

    Parameters
    ----------
    task : Task
        Training images; its folds are not used.
    plan : Plan
        The training parts, and what judges them.
    options : Options
    tolerance : float
        As in :func:`finetune.heads.linear.solve`.

    Returns
    -------
    Strengths
        Compared by the mean loss on images not trained on.
    """
    loss = LOSSES[options.loss]
    strengths = Strengths(
        task.train.X,
        task.train.labels,
        plan,
        len(task.classes),
        loss,
        judge=lambda scores, y: float(loss(scores.T[None], y)[0].mean()),
        weigh=weigh(options),
        tolerance=tolerance,
    )
    if options.l2 is None:
        strengths.walk()
    else:
        strengths.look(options.l2)
    return strengths


def _record(search: Strengths, point: Point, y: NDArray[np.int64]) -> dict[str, float]:
    accuracies = search.accuracies(point)
    return {
        "l2": point.l2,
        "cv_accuracy": float(np.mean(accuracies)),
        "cv_std": float(np.std(accuracies)),
        "cv_loss": point.judged[0],
        "log_loss": log_loss(y[search.plan.order(0)], softmax(point.held_out[0])),
    }


def _warnings(search: Strengths) -> list[str]:
    if not (end := search.border()):
        return []
    return [
        f"The best L2 strength ({search.best().l2:g}) is the {end} of those tried: the classes may be "
        + ("unrelated to the features." if end == "strongest" else "separable whatever the strength.")
    ]


def weigh(options: Options) -> Weigh:
    """Return what gives rows their weights, by their classes."""
    return balanced if options.class_weight == "balanced" else np.ones_like


def balanced(y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights, mean 1, under which every class of `y` counts the same."""
    counts = np.bincount(y)
    return len(y) / (np.count_nonzero(counts) * counts[y])
