"""A linear support vector machine on a frozen backbone's features: scikit-learn's ``LinearSVC``.

One against the rest, squared hinge, on standardised features. C is chosen by cross-validation inside the
training split. That takes dozens of fits, so they are done side by side by the probe's solver, which has
the same optimum (see :func:`squared_hinge`); the model that is kept is fitted by ``LinearSVC`` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finetune.method import Fitted, Kind, Method, Task
from finetune.options import FeatureOptions, option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested, Plan
    from finetune.heads.feature_paths import FeaturePaths
    from finetune.heads.linear import Linear
    from finetune.heads.regularisation import L2Path
    from zoo.backbone import Backbone

__all__ = ["SVM", "SVMOptions", "squared_hinge"]

#: ``LinearSVC`` penalises the intercept, like a weight on a constant feature of this size: at 10, a
#: hundredth as much as any other weight, which no longer shows in its predictions.
INTERCEPT_SCALING = 10.0

#: Ends of the path, in the probe's units of L2. The squared hinge grows faster than the softmax's loss and
#: wants more regularisation.
FIRST, LAST = 100.0, 1e-1


class SVMOptions(FeatureOptions):
    """What may be set of a support vector machine."""

    class_weight: Literal["none", "balanced"] = option(
        "none", "balanced gives every class the same weight, however many images it has."
    )


class SVM(Method[SVMOptions]):
    """scikit-learn's ``LinearSVC``, with C chosen by cross-validation."""

    name = "svm"
    kind: ClassVar[Kind] = "baseline"
    summary = "scikit-learn's linear support vector machine"
    Options = SVMOptions
    shares_folds = True

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Choose C, the most accurate and the smallest among equals, and fit the classifier."""
        import numpy as np

        from finetune.data.plan import plain
        from finetune.heads.regularisation import TOLERANCE
        from finetune.runs.saved import FittedHead

        plan = plain(task.folds)
        paths = self._paths(task, plan, TOLERANCE)
        path = paths.path()
        n_rows = float(np.mean([len(train) for train in plan.trains]))
        curve = []
        for point in path.points:
            accuracies = path.accuracies(point)
            record = {"cv_accuracy": float(accuracies.mean()), "cv_std": float(accuracies.std())}
            curve.append({"c": _c_of(point.l2, n_rows), **record})
        best = curve[path.points.index(path.best())]
        choice = {"class_weight": self.options.class_weight, **best, **paths.record()}
        X, warnings = task.train.features(paths.features()), _border(path, best["c"])
        head = self._linear_svc(task, X, best["c"])
        return FittedHead.calibrated(task, backbone, head, path.out_of_fold(), choice, curve, warnings)

    def cross_validate(
        self, task: Task, nested: Nested, backbone: Backbone | None
    ) -> list[NDArray[np.int64]]:
        """Predict every outer fold with what is chosen and fitted outside it."""
        from finetune.heads.regularisation import NESTED_TOLERANCE

        return self._paths(task, nested, NESTED_TOLERANCE).predict_outer(nested)

    def _paths(self, task: Task, plan: Plan, tolerance: float) -> FeaturePaths:
        from finetune.heads.feature_paths import FeaturePaths
        from finetune.heads.regularisation import L2Path

        train, options = task.train, self.options

        def make(X: NDArray[np.float32]) -> L2Path:
            return L2Path(
                X,
                train.labels,
                plan,
                len(task.classes),
                squared_hinge,
                criterion=lambda scores, y: float((scores.argmax(axis=1) != y).mean()),
                class_weight=options.class_weight,
                tolerance=tolerance,
            )

        def fit(path: L2Path) -> None:
            path.fit(FIRST, LAST)

        return FeaturePaths(
            train.X, train.n_last, train.labels, train.groups, options.features, plan, make, fit
        )

    def _linear_svc(self, task: Task, X: NDArray[np.float32], C: float) -> Linear:
        import numpy as np
        from sklearn.svm import LinearSVC

        from finetune.heads.linear import Linear, Problems

        y = task.train.labels
        # Standardised as in cross-validation, very small deviations floored.
        problem = Problems(X, y, np.ones((1, len(y)), np.float32), len(task.classes))
        scale = problem.scale[0].astype(np.float64)
        mean = X.mean(axis=0, dtype=np.float64)
        svc = LinearSVC(
            C=C,
            class_weight="balanced" if self.options.class_weight == "balanced" else None,
            intercept_scaling=INTERCEPT_SCALING,
            random_state=task.seed,
            max_iter=10_000,
        ).fit((X - mean) / scale, y)
        W, b = svc.coef_, svc.intercept_
        if len(task.classes) == 2:  # two classes have one decision, whose sign tells them apart
            W, b = np.concatenate([-W, W]), np.concatenate([-b, b])
        U = W / scale
        return Linear(U.astype(np.float32), (b - U @ mean).astype(np.float32))


def squared_hinge(scores: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[Any, Any]:
    """Squared hinge loss of every class against the rest, and its derivative.

    ``sum_c max(0, 1 - s_c f_c)^2`` with s_c = 1 for the true class and -1 for any other. With a penalty of
    ``l2 / 2 |W|^2`` on its mean over n rows, and the intercept free, it has the optimum of ``LinearSVC`` with
    ``C = 1 / (l2 n)``, whose objective is ``|w|^2 / 2 + C sum max(0, 1 - s f)^2`` for each class (Fan et
    al. 2008, "LIBLINEAR: a library for large linear classification", JMLR 9).

    Parameters and returned values are those of :func:`finetune.heads.linear.softmax_loss`.
    """
    import numpy as np

    sign = np.full(scores.shape[1:], -1, scores.dtype)
    sign[y, np.arange(len(y))] = 1
    short = np.maximum(1 - sign * scores, 0)
    losses = np.einsum("pcn,pcn->pn", short, short)
    short *= -2 * sign
    return losses, short


def _c_of(l2: float, n_rows: float) -> float:
    """C to three digits, so that it reads the same wherever it is printed."""
    return float(f"{1 / (l2 * n_rows):.3g}")


def _border(path: L2Path, C: float) -> list[str]:
    if not (end := path.border()):
        return []
    which = "smallest" if end == "largest" else "largest"
    return [f"The best C ({C:g}) is the {which} of those tried."]
