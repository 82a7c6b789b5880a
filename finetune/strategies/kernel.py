"""A Gaussian kernel ridge classifier on a frozen backbone's features: curved borders between classes.

The solution has a closed form. The kernel's width and the L2 are chosen by leaving out each group of training
images, or each image where there are no groups; see :mod:`finetune.heads.kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from finetune.method import Fitted, Method, Task
from finetune.options import Options, option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested
    from finetune.heads.kernel import KernelSearch
    from finetune.method import Images
    from zoo.backbone import Backbone

__all__ = ["KernelOptions", "KernelRidge"]


class KernelOptions(Options):
    """What may be set of a kernel classifier."""

    class_weight: Literal["none", "balanced"] = option(
        "none", "balanced gives every class the same weight, however many images it has."
    )
    width: float | None = option(
        None,
        "Width of the kernel, as a share of the median squared distance between training images; by default"
        " the best of four.",
        ge=1e-3,
        le=1e3,
    )
    l2: float | None = option(
        None, "L2 regularisation; by default chosen by cross-validation.", ge=1e-12, le=1e6
    )


class KernelRidge(Method[KernelOptions]):
    """A Gaussian kernel ridge classifier, with width and L2 chosen by leaving out groups."""

    name = "kernel"
    summary = "a Gaussian kernel classifier on the frozen network's features"
    Options = KernelOptions
    shares_folds = True

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Choose the width and the L2 with the lowest loss on images left out, and fit the classifier."""
        import numpy as np

        from finetune.heads.kernel import LANDMARKS
        from finetune.runs.saved import FittedHead

        search = self._search(task, task.train)
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
        return [
            self._search(task, task.train.subset(train))
            .head()
            .decision_function(task.train.X[rows])
            .argmax(axis=1)
            for train, rows in nested.outer
        ]

    def _search(self, task: Task, images: Images) -> KernelSearch:
        from finetune.heads.kernel import KernelSearch

        return KernelSearch(
            images.X,
            images.labels,
            len(task.classes),
            images.groups,
            self.options.class_weight,
            self.options.width,
            self.options.l2,
            task.seed,
        )
