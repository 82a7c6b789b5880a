"""How well each class is recognised, and which classes are taken for each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.evaluation.intervals import wilson
from finetune.evaluation.metrics import ClassScores
from finetune.report.charts import Axis, Bar, bar_chart
from finetune.runs import Run

__all__ = ["ClassRow", "Confusion", "class_chart", "class_rows", "confusions", "shares"]

#: Classes in the chart at most, the worst recognised; the table has all of them.
MOST = 30


@dataclass(frozen=True)
class Confusion:
    """How often images of one class were called another."""

    truth: str
    prediction: str
    times: int


@dataclass(frozen=True)
class ClassRow:
    """One class in the table of classes; `images` counts training and test together.

    `recall95` rests on the effective number of images where they form groups.
    """

    name: str
    images: int
    scores: ClassScores
    recall95: tuple[float, float]


def confusions(run: Run, most: int = 10) -> list[Confusion]:
    """List the most frequent confusions, which are hard to find in a large matrix."""
    names = run.data.classes
    pairs = [
        Confusion(names[t], names[p], times)
        for t, row in enumerate(run.test.confusion)
        for p, times in enumerate(row)
        if times and t != p
    ]
    return sorted(pairs, key=lambda pair: -pair.times)[:most]


def shares(confusion: Sequence[Sequence[int]]) -> list[list[int]]:
    """Divide each row by its sum, in percent: large and small classes are shaded alike."""
    return [[round(100 * count / (sum(row) or 1)) for count in row] for row in confusion]


def class_rows(run: Run) -> list[ClassRow]:
    """Gather the table of classes, the worst recognised first."""
    worth = 1.0 if run.test.n_effective is None else min(run.test.n_effective / run.test.n, 1.0)
    rows = [
        ClassRow(name, run.data.counts[name], scores, _recall_interval(scores, worth))
        for name, scores in run.test.per_class.items()
    ]
    return sorted(rows, key=lambda row: row.scores.f1)


def class_chart(rows: Sequence[ClassRow]) -> str:
    """Draw the recall of the worst classes with its interval, and their precision."""
    bars = [
        Bar(row.name, row.scores.recall, *row.recall95, other=row.scores.precision, note=f"of {support}")
        for row in rows[:MOST]
        if (support := row.scores.support)
    ]
    axis = Axis("recall with its 95% interval, precision (diamond)", percent=True, high=1.0)
    return bar_chart(bars, axis, "Recall and precision of each class; the table has the numbers")


def _recall_interval(scores: ClassScores, worth: float) -> tuple[float, float]:
    """Wilson's interval on the class's images, each of them worth so much of an independent one."""
    n = min(scores.support, math.ceil(worth * scores.support))
    return wilson(round(scores.recall * n), n)
