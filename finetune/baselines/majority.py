"""The lowest reference: every image is predicted to be of the most frequent class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from finetune.method import Fitted, Inputs, Kind, Method, Task
from finetune.options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested
    from zoo.backbone import Backbone

__all__ = ["Majority"]


class Majority(Method[Options]):
    """The majority class, as scikit-learn's ``DummyClassifier(strategy="prior")``."""

    name = "majority"
    kind: ClassVar[Kind] = "reference"
    summary = "the most frequent class, whatever the image"
    inputs: ClassVar[Inputs] = "pixels"
    shares_folds = True

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Count the classes."""
        import numpy as np

        from finetune.heads.constant import Constant
        from finetune.runs.saved import FittedHead

        y, c = task.train.labels, len(task.classes)
        out_of_fold = np.empty((len(y), c))
        for train, rows in task.folds.pairs:
            out_of_fold[rows] = _log_shares(y[train], c)
        accuracies = [(out_of_fold[rows].argmax(axis=1) == y[rows]).mean() for _, rows in task.folds.pairs]
        choice = {
            "cv_accuracy": float(np.mean(accuracies)),
            "cv_std": float(np.std(accuracies)),
            "cv_folds": task.folds.n_folds,
        }
        head = Constant(_log_shares(y, c))
        return FittedHead(task.classes, choice, out_of_fold=out_of_fold, head=head, backbone=None)

    def cross_validate(
        self, task: Task, nested: Nested, backbone: Backbone | None
    ) -> list[NDArray[np.int64]]:
        """Predict every outer fold's images to be of the class most frequent outside it."""
        import numpy as np

        y = task.train.labels
        return [np.full(len(rows), np.bincount(y[train]).argmax()) for train, rows in nested.outer]


def _log_shares(y: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """One image more, spread over all classes, so that classes without images get a probability."""
    import numpy as np

    counts = np.bincount(y, minlength=n_classes)
    return np.asarray(np.log((counts + 1 / n_classes) / (len(y) + 1)))
