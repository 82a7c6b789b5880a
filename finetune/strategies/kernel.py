"""A Gaussian kernel ridge classifier on a frozen backbone's features: curved borders between classes.

The solution has a closed form. The kernel's width and the L2 are chosen by leaving out each group of training
images, or each image where there are no groups; see :mod:`finetune.heads.kernel`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from finetune.method import Fitted, Method, Task
from finetune.options import FeatureOptions, option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested
    from finetune.heads.kernel import KernelSearch
    from finetune.method import Images
    from zoo.backbone import Backbone

__all__ = ["KernelOptions", "KernelRidge"]


class KernelOptions(FeatureOptions):
    """What may be set of a kernel classifier."""

    class_weight: Literal["none", "balanced"] = option(
        "none", "balanced gives every class the same weight, however many images it has."
    )
    width: float | None = option(
        None,
        "Width of the kernel, as a share of the median squared distance between training images; by default"
        " the best of several.",
        ge=1e-3,
        le=1e3,
    )
    l2: float | None = option(
        None, "L2 regularisation; by default chosen by cross-validation.", ge=1e-12, le=1e6
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """A search on the features that were chosen, and what run.json says of that choice."""

    search: KernelSearch
    features: str
    record: dict[str, Any] = field(default_factory=dict)


class KernelRidge(Method[KernelOptions]):
    """A Gaussian kernel ridge classifier, with width and L2 chosen by leaving out groups."""

    name = "kernel"
    summary = "a Gaussian kernel classifier on the frozen network's features"
    Options = KernelOptions

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Choose features, width and L2 by the loss on images left out, and fit the classifier."""
        import numpy as np

        from finetune.heads.kernel import LANDMARKS
        from finetune.runs.saved import FittedHead

        found = self._search(task, task.train)
        search = found.search
        if not search.exact:
            task.log(
                f"With {len(task.train):,} training images, the kernel is approximated from {LANDMARKS:,} of"
                " them (Nyström)."
            )
        scores = search.out_of_fold([rows for _, rows in task.folds.pairs])
        correct = scores.argmax(axis=1) == task.train.labels
        accuracies = [correct[rows].mean() for _, rows in task.folds.pairs]
        choice: dict[str, Any] = {
            "class_weight": self.options.class_weight,
            "width": search.best.width,
            "l2": search.best.l2,
            "cv_accuracy": float(np.mean(accuracies)),
            "cv_std": float(np.std(accuracies)),
            "landmarks": None if search.exact else LANDMARKS,
            "features": found.features,
            **found.record,
        }
        curve = [{"l2": p.l2, "cv_accuracy": p.accuracy, "log_loss": p.loss} for p in search.curve()]
        history = [point._asdict() for point in search.points]
        return FittedHead.calibrated(
            task, backbone, search.head(), scores, choice, curve, [], history=history
        )

    def cross_validate(
        self, task: Task, nested: Nested, backbone: Backbone | None
    ) -> list[NDArray[np.int64]]:
        """Predict every outer fold with what is chosen and fitted outside it."""
        predictions = []
        for train, rows in nested.outer:
            found = self._search(task, task.train.subset(train))
            held_out = task.train.features(found.features)[rows]
            predictions.append(found.search.head().decision_function(held_out).argmax(axis=1))
        return predictions

    def _search(self, task: Task, images: Images) -> _Found:
        """Search on the features wanted; where both may be, choose between them as a probe does."""
        from finetune.heads.feature_choice import choose_features

        wanted = self.options.features
        if images.n_last in (None, images.X.shape[1]):  # there are no others
            return _Found(self._search_on(task, images, "last"), "last")
        if wanted != "auto":
            return _Found(self._search_on(task, images, wanted), wanted)
        last, stages = (self._search_on(task, images, features) for features in ("last", "stages"))
        choice = choose_features(last.left_out(), stages.left_out(), images.labels, images.groups)
        taken = stages if choice.features == "stages" else last
        return _Found(taken, choice.features, choice.record())

    def _search_on(self, task: Task, images: Images, features: str) -> KernelSearch:
        from finetune.heads.kernel import KernelSearch

        options = self.options
        return KernelSearch(
            images.features(features),
            images.labels,
            len(task.classes),
            images.groups,
            options.class_weight,
            options.width,
            options.l2,
            task.seed,
        )
