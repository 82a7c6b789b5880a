"""k nearest neighbours on a frozen backbone's features: nothing is trained, the features are stored.

How many neighbours vote, by which metric, and whether near ones count more, is chosen by cross-validation
inside the training split. The distances between training images are computed once for each metric and serve
every k and every fold; see :mod:`finetune.heads.neighbours`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from finetune.method import Fitted, Kind, Method, Task
from finetune.options import Options, option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested, Plan
    from finetune.heads.knn import NeighbourSearch
    from zoo.backbone import Backbone

__all__ = ["KNN", "KNNOptions"]


class KNNOptions(Options):
    """What may be set of nearest neighbours."""

    max_k: int = option(50, "Largest number of neighbours tried (50).", ge=1)
    metric: Literal["l1", "l2", "cosine"] | None = option(
        None, "Distance; by default the best by cross-validation."
    )
    weights: Literal["uniform", "distance"] | None = option(
        None, "distance: a vote counts 1 / distance; by default the better of both."
    )


class KNN(Method[KNNOptions]):
    """scikit-learn's ``KNeighborsClassifier``, with k, metric and weights chosen by cross-validation."""

    name = "knn"
    kind: ClassVar[Kind] = "baseline"
    summary = "the nearest training images vote"
    Options = KNNOptions
    shares_folds = True

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Choose k, metric and weights, and keep the training images' features.

        The most accurate of all candidates is taken; among equals the one with the fewest neighbours, then
        the metric named first.
        """
        from finetune.data.plan import plain
        from finetune.heads.knn import Neighbours
        from finetune.runs.saved import FittedHead

        search = self._search(task, plain(task.folds))
        best, records, y = search.best(), search.curve(), task.train.labels
        own = [r for r in records if (r["metric"], r["weights"]) == (best.metric, best.weights)]
        choice = {
            **best._asdict(),
            "cv_accuracy": own[best.k - 1]["cv_accuracy"],
            "cv_std": own[best.k - 1]["cv_std"],
        }
        curve = [{key: r[key] for key in ("k", "cv_accuracy", "cv_std")} for r in own]
        head = Neighbours(task.train.last, y, len(task.classes), *best)
        warnings = self._border(best.k, search.k)
        return FittedHead.calibrated(
            task, backbone, head, search.out_of_fold(), choice, curve, warnings, history=records
        )

    def cross_validate(
        self, task: Task, nested: Nested, backbone: Backbone | None
    ) -> list[NDArray[np.int64]]:
        """Predict every outer fold with what is chosen and stored outside it."""
        return self._search(task, nested).predict_outer(nested)

    def _search(self, task: Task, plan: Plan) -> NeighbourSearch:
        from finetune.heads.knn import NeighbourSearch

        options = self.options
        return NeighbourSearch(
            task.train.last,
            task.train.labels,
            len(task.classes),
            plan,
            options.max_k,
            options.metric,
            options.weights,
        )

    def _border(self, k: int, largest: int) -> list[str]:
        if k < largest or largest == 1:
            return []
        more = "try a larger --max-k" if largest == self.options.max_k else "there are no more images to try"
        return [f"The best number of neighbours ({k}) is the largest of those tried: {more}."]
