"""The probe: a linear softmax (or SVM) classifier on a frozen backbone's features.

The regularisation is chosen by cross-validation inside the training split, by the loss on images not trained
on; then one classifier is fitted to all training images with it. ``head="mlp"`` puts a hidden layer before
it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from finetune.method import Features, Fitted, Method, Task
from finetune.options import FeatureOptions, flag, option
from finetune.space import LogUniform, OneOf, Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested, Plan
    from finetune.heads.descent import Descent
    from finetune.heads.feature_paths import FeaturePaths
    from finetune.heads.regularisation import L2Path, PathPoint
    from zoo.backbone import Backbone

__all__ = ["Probe", "ProbeOptions"]

#: Values of L2 that are tried for a hidden layer where none is given.
MLP_L2 = (1e-1, 1e-2, 1e-3)

#: Options that only a hidden layer has.
_MLP_ONLY = ("activation", "hidden", "lr", "epochs", "momentum")

#: What a search draws from.
LINEAR_SPACE: Space = {"l2": LogUniform(1e-5, 1e2), "loss": OneOf(("softmax", "hinge"))}
MLP_SPACE: Space = {
    "lr": LogUniform(3e-4, 0.3),
    "l2": LogUniform(1e-5, 0.5),
    "hidden": LogUniform(16, 512, integer=True),
    "activation": OneOf(("relu", "leaky_relu", "elu", "tanh", "maxout")),
}


class ProbeOptions(FeatureOptions):
    """What may be set of a probe."""

    loss: Literal["softmax", "hinge"] = option("softmax", "hinge is the multi-class SVM loss.")
    class_weight: Literal["none", "balanced"] = option(
        "none", "balanced gives every class the same weight, however many images it has."
    )
    head: Literal["linear", "mlp"] = option("linear", "mlp puts a hidden layer before the classifier.")
    l2: float | None = option(
        None, "L2 regularisation; by default chosen by cross-validation.", ge=1e-12, le=1e6
    )
    activation: Literal["relu", "leaky_relu", "elu", "tanh", "maxout"] | None = option(
        None, "With --head mlp: activation of the hidden layer (relu)."
    )
    hidden: int | None = option(None, "With --head mlp: units of the hidden layer (256).", ge=1, le=65_536)
    lr: float | None = option(None, "With --head mlp: learning rate (0.02).", gt=0, le=100)
    epochs: int | None = option(None, "With --head mlp: passes over the images (20).", ge=1, le=100_000)
    momentum: float | None = option(
        None, "With --head mlp: momentum of the gradient descent (0.9).", ge=0, lt=1
    )

    @classmethod
    def search_space(cls, given: Mapping[str, Any]) -> Space:
        """Return the ranges of a hidden layer's options, or with ``head="linear"`` of a linear head's."""
        return LINEAR_SPACE if given.get("head") == "linear" else MLP_SPACE

    @model_validator(mode="after")
    def _only_for_mlp(self) -> ProbeOptions:
        extra = [flag(name) for name in _MLP_ONLY if getattr(self, name) is not None]
        if extra and self.head != "mlp":
            raise ValueError(
                f"A linear head has no {', '.join(extra)}: it is solved for. | "
                f"Leave out {', '.join(extra)}, or add --head mlp."
            )
        return self


class Probe(Method[ProbeOptions]):
    """A linear classifier, or one with a hidden layer, on frozen features."""

    name = "probe"
    summary = "a linear classifier on the frozen network's features"
    Options = ProbeOptions
    shares_folds = True

    @property
    def features(self) -> Features:
        """As for every method, but a hidden layer reads the last features unless it is told otherwise."""
        hidden_layer = self.options.head == "mlp" and self.options.features == "auto"
        return "last" if hidden_layer else super().features

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Choose the regularisation by cross-validation and fit the classifier."""
        return (
            self._fit_mlp(task, backbone) if self.options.head == "mlp" else self._fit_linear(task, backbone)
        )

    def cross_validate(
        self, task: Task, nested: Nested, backbone: Backbone | None
    ) -> list[NDArray[np.int64]]:
        """Predict every outer fold with what is chosen and fitted outside it."""
        from finetune.heads.regularisation import NESTED_TOLERANCE

        if self.options.head == "mlp":
            return super().cross_validate(task, nested, backbone)
        return self.paths(task, nested, NESTED_TOLERANCE).predict_outer(nested)

    def paths(self, task: Task, plan: Plan, tolerance: float) -> FeaturePaths:
        """Solve the regularisation path of a linear head, or its one given value, on the features wanted.

        Parameters
        ----------
        task : Task
            Training images; its folds are not used.
        plan : Plan
            The training parts, and what judges them: the mean loss on images not trained on.
        tolerance : float
            As in :func:`finetune.heads.linear.solve`.
        """
        from finetune.heads.feature_paths import FeaturePaths
        from finetune.heads.linear import LOSSES
        from finetune.heads.regularisation import L2Path

        train, options, loss = task.train, self.options, LOSSES[self.options.loss]

        def make(X: NDArray[np.float32]) -> L2Path:
            return L2Path(
                X,
                train.labels,
                plan,
                len(task.classes),
                loss,
                criterion=lambda scores, y: float(loss(scores.T[None], y)[0].mean()),
                class_weight=options.class_weight,
                tolerance=tolerance,
            )

        def fit(path: L2Path) -> None:
            if options.l2 is None:
                path.fit()
            else:
                path.fit_single(options.l2)

        return FeaturePaths(
            train.X, train.n_last, train.labels, train.groups, options.features, plan, make, fit
        )

    def descent(self, seed: int, l2: float) -> Descent:
        """Return how a hidden layer is trained."""
        from finetune.heads.descent import Descent

        options = self.options
        given = {name: getattr(options, name) for name in _MLP_ONLY}
        given = {name: value for name, value in given.items() if value is not None}
        return Descent(**given, l2=l2, loss=options.loss, class_weight=options.class_weight, seed=seed)

    def _fit_linear(self, task: Task, backbone: Backbone | None) -> Fitted:
        from finetune.data.plan import plain
        from finetune.heads.regularisation import TOLERANCE
        from finetune.runs.saved import FittedHead

        paths = self.paths(task, plain(task.folds), TOLERANCE)
        path, y = paths.path(), task.train.labels
        best = path.best()
        curve = [_record(path, point, y) for point in path.points]
        chosen = curve[path.points.index(best)]
        choice = {
            "loss": self.options.loss,
            "class_weight": self.options.class_weight,
            **{key: chosen[key] for key in ("l2", "cv_accuracy", "cv_std")},
            **paths.record(),
        }
        warnings = _border(path) if self.options.l2 is None else []
        return FittedHead.calibrated(
            task, backbone, path.classifier(), path.out_of_fold(), choice, curve, warnings
        )

    def _fit_mlp(self, task: Task, backbone: Backbone | None) -> Fitted:
        """As for a linear head: the L2 with the least loss on images not trained on."""
        import numpy as np

        from finetune.heads.descent import Diverged, fit_mlp, fit_mlp_folds
        from finetune.runs.saved import FittedHead

        X, y, c = task.train.features(self.features), task.train.labels, len(task.classes)
        pairs = task.folds.pairs
        order = np.concatenate([rows for _, rows in pairs])
        tried = {}
        for l2 in MLP_L2 if self.options.l2 is None else (self.options.l2,):
            try:
                scores = np.concatenate(fit_mlp_folds(X, y, c, pairs, self.descent(task.seed, l2)))
            except Diverged:
                continue
            tried[l2] = np.empty_like(scores)
            tried[l2][order] = scores
        if not tried:
            raise self._diverged()
        curve = [{"l2": l2, **_judged(scores, task)} for l2, scores in tried.items()]
        best = min(curve, key=lambda point: point["cv_loss"])
        how = self.descent(task.seed, best["l2"])
        everything = np.arange(len(y))
        try:
            head, _ = fit_mlp(X, y, c, everything, everything[:1], how)
        except Diverged as error:
            raise self._diverged() from error
        choice = {
            "loss": how.loss,
            "class_weight": how.class_weight,
            "head": "mlp",
            **{name: getattr(how, name) for name in ("activation", "hidden", "lr", "epochs")},
            **{key: best[key] for key in ("l2", "cv_accuracy", "cv_std")},
            "features": self.features,
        }
        return FittedHead.calibrated(task, backbone, head, tried[best["l2"]], choice, curve, [])

    def _diverged(self) -> Exception:
        from finetune.errors import TrainingError

        lr = self.descent(0, 0.0).lr
        return TrainingError(
            f"The training diverged at the learning rate {lr:g}.",
            f"Give a lower --lr, such as {math.sqrt(0.1) * lr:.1g}.",
        )


def _record(path: L2Path, point: PathPoint, y: NDArray[np.int64]) -> dict[str, float]:
    from finetune.evaluation.calibration import softmax
    from finetune.evaluation.metrics import log_loss

    accuracies = path.accuracies(point)
    return {
        "l2": point.l2,
        "cv_accuracy": float(accuracies.mean()),
        "cv_std": float(accuracies.std()),
        "cv_loss": point.criterion[0],
        "log_loss": log_loss(y[path.plan.order(0)], softmax(point.held_out[0])),
    }


def _judged(scores: NDArray[np.float32], task: Task) -> dict[str, float]:
    import numpy as np

    from finetune.evaluation.calibration import fit_temperature, softmax
    from finetune.evaluation.metrics import log_loss

    y = task.train.labels
    correct = scores.argmax(axis=1) == y
    accuracies = [correct[rows].mean() for _, rows in task.folds.pairs]
    loss = log_loss(y, softmax(scores / fit_temperature(scores, y)))
    return {"cv_accuracy": float(np.mean(accuracies)), "cv_std": float(np.std(accuracies)), "cv_loss": loss}


def _border(path: L2Path) -> list[str]:
    if not (end := path.border()):
        return []
    return [
        f"The best L2 ({path.best().l2:g}) is the {end} of those tried: the classes may be "
        + ("unrelated to the features." if end == "largest" else "separable at any regularisation.")
    ]
