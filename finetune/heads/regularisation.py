"""The regularisation path: a linear classifier at many values of L2, on all training parts of a plan at once.

The path goes from large to small L2 in half decades, every part starting each solution from its last one,
and is extended beyond either end as long as the best value is found there. With a
:class:`finetune.data.plan.Nested` plan the same path makes a choice for each outer fold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan
from finetune.heads.linear import Linear, Loss, Problems, sample_weight, solve

__all__ = ["HALF_DECADE", "L2_MAX", "L2_MIN", "L2Path", "PathPoint"]

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

# The path's usual ends, and how far it may be extended: beyond, the classifier is constant or the penalty
# has no effect.
FIRST, LAST = 10.0, 1e-2
L2_MAX, L2_MIN = 1e3, 1e-5
HALF_DECADE = 10**0.5

#: Looser than a final fit: past this, accuracies no longer move (docs/performance.md).
TOLERANCE = 3e-4

FINAL_TOLERANCE = 1e-5

#: Of fits that only estimate how good the whole procedure is: their choices are the same, and so, to a
#: fraction of an image, are their accuracies.
NESTED_TOLERANCE = 1e-3

#: From held-out scores, (m, c), and their classes, (m,), a number of which the smallest is chosen.
Criterion = Callable[[Array, Indices], float]


@dataclass(frozen=True, eq=False)
class PathPoint:
    """One value of L2.

    Attributes
    ----------
    l2 : float
    theta : (p, k) array
        Solutions of all training parts.
    held_out : list of (m, c) arrays
        For each choice, the scores of its held-out rows.
    criterion : list of float
        For each choice, their criterion.
    """

    l2: float
    theta: Array
    held_out: list[Array]
    criterion: list[float]


class L2Path:
    """Linear classifiers over a range of L2, and the best of them for each choice of a plan.

    Parameters
    ----------
    X : (n, d) array
        Features.
    y : (n,) int array
        Class indices.
    plan : Plan
        Over these n rows.
    n_classes : int
        Number of classes.
    loss : callable
        What is minimised; see :mod:`finetune.heads.linear`.
    criterion : callable
        By what values of L2 are compared.
    class_weight : str or sequence of float, optional
        ``balanced`` lets every class of a training part count the same; or a weight for each class.
    tolerance : float, optional
        As in :func:`finetune.heads.linear.solve`.

    Attributes
    ----------
    points : list of PathPoint
        From large to small L2.
    """

    def __init__(
        self,
        X: Array,
        y: Indices,
        plan: Plan,
        n_classes: int,
        loss: Loss,
        criterion: Criterion,
        class_weight: str | Sequence[float] = "none",
        tolerance: float = TOLERANCE,
    ) -> None:
        self.plan = plan
        self.points: list[PathPoint] = []
        self._X, self._y, self._n_classes = X, y, n_classes
        self._loss, self._criterion = loss, criterion
        self._class_weight, self._tolerance = class_weight, tolerance
        self._problems = self._problems_of(plan.trains)

    def fit(self, first: float = FIRST, last: float = LAST) -> None:
        """Solve the path from `first` to `last`; extend it at either end while that is where a best is."""
        theta = None
        l2 = first
        while l2 > last * 0.99 or (self._a_best_is_at(-1) and l2 > L2_MIN):
            theta = self._solve(l2, theta)
            l2 = rounded(l2 / HALF_DECADE)
        while self._a_best_is_at(0) and self.points[0].l2 < L2_MAX:
            self._solve(rounded(self.points[0].l2 * HALF_DECADE), None)

    def fit_near(self, other: "L2Path") -> None:
        """Solve around the best values of L2 on a path over the first columns of the same features.

        The solutions start from those of the other path, with zeros for the columns that it does not have;
        the ends are extended as in :meth:`fit`. Where the other path has one value, this one has it alone.
        """
        bests = {other.best(choice).l2: other.best(choice) for choice in range(len(self.plan.choices))}
        theta = self._widened(bests[max(bests)].theta)
        if len(other.points) == 1:
            self._solve(max(bests), theta)
            return
        l2 = max(bests)
        while l2 > min(bests) * 0.99 or (self._a_best_is_at(-1) and l2 > L2_MIN):
            theta = self._solve(l2, theta)
            l2 = rounded(l2 / HALF_DECADE)
        while self._a_best_is_at(0) and self.points[0].l2 < L2_MAX:
            self._solve(rounded(self.points[0].l2 * HALF_DECADE), self.points[0].theta)

    def fit_single(self, l2: float) -> None:
        """Solve for one value of L2."""
        self._solve(l2, None)

    def best(self, choice: int = 0) -> PathPoint:
        """Return the best point for a choice; the largest L2 among equals."""
        return min(self.points, key=lambda point: point.criterion[choice])

    def border(self, choice: int = 0) -> str:
        """Return ``largest`` or ``smallest`` where a choice is an end of the path, else nothing."""
        best = self.best(choice)
        return "largest" if best is self.points[0] else "smallest" if best is self.points[-1] else ""

    def out_of_fold(self) -> Array:
        """Return a plain plan's held-out scores at the best L2, (n, c), in the order of the rows."""
        scores = self.best().held_out[0]
        found = np.empty_like(scores)
        found[self.plan.order(0)] = scores
        return found

    def classifier(self) -> Linear:
        """Fit one classifier to all rows with the L2 that a plain plan chose."""
        best = self.best()
        whole = self._problems_of([np.arange(len(self._y))])
        return whole.classifier(
            solve(whole, best.l2, self._loss, start=self._start(best, 0), tolerance=FINAL_TOLERANCE)
        )

    def predict_outer(self, nested: Nested, some: Sequence[int] | None = None) -> dict[int, Indices]:
        """Fit outer folds' training parts with the L2 chosen inside them, and predict the folds.

        Parameters
        ----------
        nested : Nested
            The plan that the path was fitted on.
        some : sequence of int, optional
            Which outer folds; by default all.

        Returns
        -------
        dict of int to int array
            Predicted classes of each outer fold's held-out rows.
        """
        bests = {i: self.best(i) for i in (range(len(nested.outer)) if some is None else some)}
        predictions: dict[int, Indices] = {}
        for point in {best.l2: best for best in bests.values()}.values():
            chosen = [i for i, best in bests.items() if best is point]
            problems = self._problems_of([nested.outer[i][0] for i in chosen])
            start = np.concatenate([self._start(point, i) for i in chosen])
            theta = solve(problems, point.l2, self._loss, start=start, tolerance=self._tolerance)
            for i, scores in zip(chosen, problems.scores(theta), strict=True):
                predictions[i] = scores[:, nested.outer[i][1]].argmax(axis=0)
        return predictions

    def accuracies(self, point: PathPoint, choice: int = 0) -> NDArray[np.float64]:
        """Return the accuracy on each held-out part of a choice."""
        correct = point.held_out[choice].argmax(axis=1) == self._y[self.plan.order(choice)]
        sizes = [len(rows) for _, rows in self.plan.choices[choice]]
        return np.array([part.mean() for part in np.split(correct, np.cumsum(sizes)[:-1])])

    def _problems_of(self, parts: list[Indices]) -> Problems:
        weights = np.zeros((len(parts), len(self._y)), np.float32)
        for row, part in zip(weights, parts, strict=True):
            row[part] = sample_weight(self._y[part], self._class_weight)
        return Problems(self._X, self._y, weights, self._n_classes)

    def _widened(self, theta: Array) -> Array:
        """Return solutions for fewer columns with weights of zero for the columns that they do not have."""
        c, p = self._n_classes, len(theta)
        W, b = theta[:, :-c].reshape(p, c, -1), theta[:, -c:]
        wide = np.zeros((p, c, self._X.shape[1]), np.float32)
        wide[:, :, : W.shape[2]] = W
        return np.concatenate([wide.reshape(p, -1), b], axis=1)

    def _start(self, point: PathPoint, choice: int) -> Array:
        """The mean of a choice's parts is near the solution on all its rows: a start, not a result."""
        parts = [part for part, _ in self.plan.choices[choice]]
        return np.asarray(point.theta[parts].mean(axis=0, keepdims=True))

    def _a_best_is_at(self, end: int) -> bool:
        return any(self.best(choice) is self.points[end] for choice in range(len(self.plan.choices)))

    def _solve(self, l2: float, theta: Array | None) -> Array:
        theta = solve(self._problems, l2, self._loss, start=theta, tolerance=self._tolerance)
        scores = self._problems.scores(theta)
        held_out = [
            np.concatenate([scores[part][:, rows] for part, rows in choice], axis=1).T
            for choice in self.plan.choices
        ]
        criterion = [self._criterion(part, self._y[self.plan.order(i)]) for i, part in enumerate(held_out)]
        self.points = sorted([*self.points, PathPoint(l2, theta, held_out, criterion)], key=lambda p: -p.l2)
        return theta


def rounded(l2: float) -> float:
    """Round to two digits, so that a value reads the same wherever it is printed."""
    return float(f"{l2:.2g}")
