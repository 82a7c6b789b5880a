"""``report.html``: one page, complete in itself, without scripts."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import RunError
from finetune.evaluation.intervals import wilson
from finetune.evaluation.metrics import ClassScores
from finetune.report.charts import Axis, Bar, Point, Series, bar_chart, chart
from finetune.report.findings import findings
from finetune.report.mistakes import worst_mistakes
from finetune.report.pages import TEMPLATES, render
from finetune.runs import Run, read_predictions
from zoo.writing import write_text

__all__ = ["TEMPLATES", "Curve", "curve", "write_report"]

_NAMES = {"l2": "L2 regularisation", "c": "C", "k": "number of neighbours k", "epochs": "epochs of training"}


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


def write_report(run: Run, folder: str | os.PathLike[str]) -> Path:
    """Write the page of a run.

    The page needs no other file and no network. Thumbnails of the worst mistakes are made from the images
    that ``predictions.csv`` names, as far as they are still there.

    Parameters
    ----------
    run : Run
        What to show.
    folder : path
        Where to write ``report.html``; ``predictions.csv`` is read from there if it exists.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        Where ``predictions.csv`` is damaged.
    """
    folder = Path(folder)
    predictions = read_predictions(folder) if (folder / "predictions.csv").exists() else []
    values = {
        "run": run,
        "percent": _percent,
        "warnings": run.warnings,
        "accuracies": _accuracies(run),
        "raw": run.reference.raw_pixels_accuracy,
        "curve": curve(run.choice),
        "confusions": _confusions(run),
        "shares": _shares(run.test.confusion),
        "rows": _class_rows(run),
        "n_wrong": sum(not prediction.correct for prediction in predictions),
        "chance_loss": math.log(len(run.data.classes)),
        "run_word": shlex.quote(str(run.path)),
        "findings": findings(run.data.notices, Path(run.data.path)),
        "mistakes": worst_mistakes(predictions, Path(run.data.path)),
        "chosen": {key: value for key, value in run.choice.items() if not isinstance(value, list | dict)},
    }
    page = render("report.html.j2", values)
    path = folder / "report.html"
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}).", "Free some space there."
        ) from error
    return path


@dataclass(frozen=True)
class Curve:
    """Accuracy over one hyperparameter.

    Attributes
    ----------
    name : str
        The hyperparameter, in words.
    folds : bool
        Whether it is the mean over cross-validation's folds, and not the accuracy on one inner split.
    svg : str
        The chart.
    rows : list of dict
        The same as numbers.
    columns : list of str
        Keys that every row has.
    chosen : int
        Which row was chosen.
    """

    name: str
    folds: bool
    svg: str
    rows: list[Mapping[str, float]]
    columns: list[str]
    chosen: int


def curve(choice: Mapping[str, Any]) -> Curve | None:
    """Draw the curve of a run's choice.

    Parameters
    ----------
    choice : mapping
        ``run.choice``. Each point of its ``curve`` holds the hyperparameter as first key, then
        ``cv_accuracy`` or ``validation_accuracy``, and perhaps ``cv_std`` and more. The chosen value
        stands in `choice` under the hyperparameter's own name.

    Returns
    -------
    Curve or None
        None where there are fewer than two points to connect.
    """
    rows: list[Mapping[str, float]] = choice.get("curve") or []
    if len(rows) < 2:
        return None
    key = next(iter(rows[0]))
    rows = sorted(rows, key=lambda row: row[key])
    xs = [float(row[key]) for row in rows]
    score = "cv_accuracy" if "cv_accuracy" in rows[0] else "validation_accuracy"
    best = max(rows, key=lambda row: row[score])
    chosen = xs.index(choice[key] if choice.get(key) in xs else float(best[key]))
    columns = [name for name in rows[0] if all(name in row for row in rows)]
    points = []
    for i, row in enumerate(rows):
        spread = row.get("cv_std") or 0.0
        title = ", ".join(f"{n.replace('_', ' ')} {row[n]:.4g}" for n in columns if row[n] is not None)
        mark: Any = "ring" if i == chosen else "dot"
        low, high = (row[score] - spread, row[score] + spread) if spread else (None, None)
        points.append(Point(xs[i], row[score], low, high, title, mark))
    # A grid of powers has its middle near its lower end, a grid of equal steps half-way up.
    log = xs[0] > 0 and xs[len(xs) // 2] < xs[-1] / 4
    name = _NAMES.get(key, key.replace("_", " "))
    svg = chart(
        [Series(points)],
        Axis(name, log=log),
        Axis("accuracy", percent=True),
        f"Accuracy over {name}; the table below has the numbers",
    )
    return Curve(name, score == "cv_accuracy", svg, rows, columns, chosen)


def _accuracies(run: Run) -> str:
    """Draw the held-out accuracy with its interval, and what is reached without a CNN."""
    test, raw = run.test, run.reference.raw_pixels_accuracy
    bars = [Bar("this model", test.accuracy, *test.ci95)]
    if raw is not None:
        bars.append(Bar("linear, on 32 x 32 pixels", raw))
    bars.append(Bar("majority class", run.reference.majority_accuracy))
    return bar_chart(bars, Axis("accuracy", percent=True, high=1.0), "Accuracy, beside what needs no CNN")


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"


def _confusions(run: Run, most: int = 10) -> list[Confusion]:
    """List the most frequent confusions, which are hard to find in a large matrix."""
    names = run.data.classes
    pairs = [
        Confusion(names[t], names[p], times)
        for t, row in enumerate(run.test.confusion)
        for p, times in enumerate(row)
        if times and t != p
    ]
    return sorted(pairs, key=lambda pair: -pair.times)[:most]


def _shares(confusion: Sequence[Sequence[int]]) -> list[list[int]]:
    """Divide each row by its sum, in percent: large and small classes are shaded alike."""
    return [[round(100 * count / (sum(row) or 1)) for count in row] for row in confusion]


def _class_rows(run: Run) -> list[ClassRow]:
    """Gather the table of classes, the worst recognised first."""
    worth = 1.0 if run.test.n_effective is None else min(run.test.n_effective / run.test.n, 1.0)
    rows = [
        ClassRow(name, run.data.counts[name], scores, _recall_interval(scores, worth))
        for name, scores in run.test.per_class.items()
    ]
    return sorted(rows, key=lambda row: row.scores.f1)


def _recall_interval(scores: ClassScores, worth: float) -> tuple[float, float]:
    """Wilson's interval on the class's images, each of them worth so much of an independent one."""
    n = min(scores.support, math.ceil(worth * scores.support))
    return wilson(round(scores.recall * n), n)
