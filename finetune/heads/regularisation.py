"""The choice of an L2 strength by cross-validation: many training parts, one walk.

Strengths are walked from strong to weak in half decades, every part starting each solution from its
last, and the walk goes on beyond either end as long as the best is found there. With a
:class:`finetune.data.plan.Nested` plan the same walk makes a choice for each outer fold.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan
from finetune.heads.linear import Linear, Loss, Problems, solve

__all__ = ["FIRST", "HALF_DECADE", "LAST", "STRONGEST", "WEAKEST", "Point", "Strengths"]

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

# Strengths are tried in half decades from strong to weak, and beyond as long as the best is at the
# border, but no further than here: outside, the classifier is constant or the penalty without effect.
FIRST, LAST = 10.0, 1e-2
STRONGEST, WEAKEST = 1e3, 1e-5
HALF_DECADE = 10**0.5

#: Looser than a final fit: past this, accuracies no longer move (docs/performance.md).
TOLERANCE = 3e-4

FINAL_TOLERANCE = 1e-5

#: What says how bad held-out scores, (m, c), are for their classes, (m,): the smallest is chosen.
Judge = Callable[[Array, Indices], float]

#: What gives weights to the rows of a training part, by their classes.
Weigh = Callable[[Indices], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Point:
    """One strength.

    Attributes
    ----------
    l2 : float
        The strength.
    theta : (p, k) array
        Solutions of all training parts.
    held_out : list of (m, c) arrays
        For each choice, the scores of its held-out rows.
    judged : list of float
        For each choice, how bad they are.
    """

    l2: float
    theta: Array
    held_out: list[Array]
    judged: list[float]


class Strengths:
    """A walk over strengths, on all training parts of a plan at once.

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
    judge : callable
        By what strengths are compared.
    weigh : callable, optional
        Weights of training rows; 1 each by default.
    tolerance : float, optional
        As in :func:`finetune.heads.linear.solve`.

    Attributes
    ----------
    points : list of Point
        From strong to weak.
    """

    def __init__(
        self,
        X: Array,
        y: Indices,
        plan: Plan,
        n_classes: int,
        loss: Loss,
        judge: Judge,
        weigh: Weigh = np.ones_like,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.plan = plan
        self.points: list[Point] = []
        self._X, self._y, self._n_classes = X, y, n_classes
        self._loss, self._judge, self._weigh, self._tolerance = loss, judge, weigh, tolerance
        self._problems = self._problems_of(plan.trains)

    def walk(self, first: float = FIRST, last: float = LAST) -> None:
        """Walk from strong to weak; widen at either end while that is where a best is."""
        theta = None
        l2 = first
        while l2 > last * 0.99 or (self._a_best_is_at(-1) and l2 > WEAKEST):
            theta = self._try(l2, theta)
            l2 = rounded(l2 / HALF_DECADE)
        while self._a_best_is_at(0) and self.points[0].l2 < STRONGEST:
            self._try(rounded(self.points[0].l2 * HALF_DECADE), None)

    def look(self, l2: float) -> None:
        """Try one strength, alone."""
        self._try(l2, None)

    def best(self, choice: int = 0) -> Point:
        """Return the best point for a choice; the strongest among equals."""
        return min(self.points, key=lambda point: point.judged[choice])

    def border(self, choice: int = 0) -> str:
        """Return ``strongest`` or ``weakest`` where a choice fell on an end of the walk, else nothing."""
        best = self.best(choice)
        return "strongest" if best is self.points[0] else "weakest" if best is self.points[-1] else ""

    def classifier(self) -> Linear:
        """Fit one classifier to all rows with the strength that a plain plan chose."""
        best = self.best()
        whole = self._problems_of([np.arange(len(self._y))])
        return whole.classifier(
            solve(whole, best.l2, self._loss, start=self._start(best, 0), tolerance=FINAL_TOLERANCE)
        )

    def predict_outer(self, nested: Nested) -> list[Indices]:
        """Fit every outer fold's training part with the strength chosen inside it, and predict the fold.

        Parameters
        ----------
        nested : Nested
            The plan that was walked.

        Returns
        -------
        list of int arrays
            Predicted classes of each outer fold's held-out rows.
        """
        bests = [self.best(choice) for choice in range(len(nested.outer))]
        predictions: list[Indices] = [np.empty(0, np.int64)] * len(bests)
        for point in {best.l2: best for best in bests}.values():
            chosen = [i for i, best in enumerate(bests) if best is point]
            problems = self._problems_of([nested.outer[i][0] for i in chosen])
            start = np.concatenate([self._start(point, i) for i in chosen])
            theta = solve(problems, point.l2, self._loss, start=start, tolerance=self._tolerance)
            for i, scores in zip(chosen, problems.scores(theta), strict=True):
                predictions[i] = scores[:, nested.outer[i][1]].argmax(axis=0)
        return predictions

    def accuracies(self, point: Point, choice: int = 0) -> NDArray[np.float64]:
        """Return the share that is right, for each part that judges a choice."""
        right = point.held_out[choice].argmax(axis=1) == self._y[self.plan.order(choice)]
        sizes = [len(rows) for _, rows in self.plan.choices[choice]]
        return np.array([part.mean() for part in np.split(right, np.cumsum(sizes)[:-1])])

    def _problems_of(self, parts: list[Indices]) -> Problems:
        weights = np.zeros((len(parts), len(self._y)), np.float32)
        for row, part in zip(weights, parts, strict=True):
            row[part] = self._weigh(self._y[part])
        return Problems(self._X, self._y, weights, self._n_classes)

    def _start(self, point: Point, choice: int) -> Array:
        """The mean of a choice's parts is near the solution on all its rows: a start, not a result."""
        parts = [part for part, _ in self.plan.choices[choice]]
        return np.asarray(point.theta[parts].mean(axis=0, keepdims=True))

    def _a_best_is_at(self, end: int) -> bool:
        return any(self.best(choice) is self.points[end] for choice in range(len(self.plan.choices)))

    def _try(self, l2: float, theta: Array | None) -> Array:
        theta = solve(self._problems, l2, self._loss, start=theta, tolerance=self._tolerance)
        scores = self._problems.scores(theta)
        held_out = [
            np.concatenate([scores[part][:, rows] for part, rows in choice], axis=1).T
            for choice in self.plan.choices
        ]
        judged = [self._judge(part, self._y[self.plan.order(i)]) for i, part in enumerate(held_out)]
        self.points = sorted([*self.points, Point(l2, theta, held_out, judged)], key=lambda p: -p.l2)
        return theta


def rounded(l2: float) -> float:
    """Round to two digits, so that a strength reads the same wherever it is printed."""
    return float(f"{l2:.2g}")
