"""What was chosen among what, and how a training went: curves over L2, k, the learning rate and epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.report.charts import Axis, Mark, Point, Series, chart

__all__ = ["Curve", "curve", "lr_trials", "trained_on_all", "training_curves"]

_NAMES = {"l2": "L2 regularisation", "c": "C", "k": "number of neighbours k", "epochs": "epochs of training"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """Accuracy and loss over one hyperparameter.

    Attributes
    ----------
    name : str
        The hyperparameter, in words.
    folds : bool
        Whether it is the mean over cross-validation's folds, and not the accuracy on one inner split.
    charts : list of str
        The accuracy, and the loss where there is one.
    rows : list of dict
        The same as numbers.
    columns : list of str
        Keys that every row has.
    chosen : int
        Which row was chosen.
    by_loss : bool
        Whether there is a loss, by which it was chosen.
    """

    name: str
    folds: bool
    charts: list[str]
    rows: list[Row]
    columns: list[str]
    chosen: int
    by_loss: bool


def curve(choice: Mapping[str, Any]) -> Curve | None:
    """Draw the curve of a run's choice.

    Parameters
    ----------
    choice : mapping
        ``run.choice``. Each point of its ``curve`` holds the hyperparameter as first key, then
        ``cv_accuracy`` or ``validation_accuracy``, and perhaps ``cv_std``, ``cv_loss`` and more. The chosen
        value stands in `choice` under the hyperparameter's own name.

    Returns
    -------
    Curve or None
        None where there are fewer than two points to connect, or they are the epochs of a training.
    """
    rows: list[Row] = choice.get("curve") or []
    if len(rows) < 2 or "epochs" in rows[0]:
        return None
    key = next(iter(rows[0]))
    rows = sorted(rows, key=lambda row: row[key])
    xs = [float(row[key]) for row in rows]
    score = "cv_accuracy" if "cv_accuracy" in rows[0] else "validation_accuracy"
    best = max(rows, key=lambda row: row[score])
    chosen = xs.index(choice[key] if choice.get(key) in xs else float(best[key]))
    columns = [name for name in rows[0] if all(name in row for row in rows)]
    # A grid of powers has its middle near its lower end, a grid of equal steps half-way up.
    log = xs[0] > 0 and xs[len(xs) // 2] < xs[-1] / 4
    across = Axis(_NAMES.get(key, key.replace("_", " ")), log=log)
    drawn = [
        chart(
            [Series(_points(rows, xs, score, columns, chosen, "cv_std"))],
            across,
            Axis("accuracy", percent=True),
            f"Accuracy over {across.label}; the table below has the numbers",
        )
    ]
    by_loss = "cv_loss" in columns and all(math.isfinite(row["cv_loss"]) for row in rows)
    if by_loss:
        lowest = min(row["cv_loss"] for row in rows)
        drawn.append(
            chart(
                [Series(_points(rows, xs, "cv_loss", columns, chosen))],
                across,
                Axis("loss", high=max(5 * lowest, lowest + 1e-6) if lowest > 0 else None),
                f"Loss over {across.label}; the table below has the numbers",
            )
        )
    return Curve(across.label, score == "cv_accuracy", drawn, rows, columns, chosen, by_loss)


def _points(
    rows: Sequence[Row],
    xs: Sequence[float],
    score: str,
    columns: Sequence[str],
    chosen: int,
    spread: str = "",
) -> list[Point]:
    points = []
    for i, (x, row) in enumerate(zip(xs, rows, strict=True)):
        width = row.get(spread) or 0.0
        title = ", ".join(f"{n.replace('_', ' ')} {row[n]:.4g}" for n in columns if row[n] is not None)
        mark: Mark = "ring" if i == chosen else "dot"
        low, high = (row[score] - width, row[score] + width) if width else (None, None)
        points.append(Point(x, row[score], low, high, title, mark))
    return points


def lr_trials(choice: Mapping[str, Any]) -> str:
    """Draw the loss over the learning rates that were tried; empty where there were fewer than two."""
    rows = [row for row in choice.get("learning_rates") or [] if row.get("validation_loss") is not None]
    if len(rows) < 2:
        return ""
    points = [
        Point(
            row["lr"],
            row["validation_loss"],
            title=f"learning rate {row['lr']:.3g}: loss {row['validation_loss']:.4g}",
            mark="ring" if row["lr"] == choice.get("lr") else "dot",
        )
        for row in sorted(rows, key=lambda row: row["lr"])
    ]
    title = "Loss on training images held out of the training, over the learning rate"
    return chart(
        [Series(points)], Axis("learning rate", log=True), Axis("loss on inner validation images"), title
    )


def training_curves(choice: Mapping[str, Any], metrics: Sequence[Row]) -> list[str]:
    """Draw how a network's training went: loss, accuracy, learning rate and size of the updates.

    Parameters
    ----------
    choice : mapping
        ``run.choice``; its ``curve`` has the epochs of the training that judged the learning rate, with the
        loss and accuracy on images that it held out.
    metrics : sequence of dict
        ``metrics.jsonl``: a line for each epoch of the training on all training images.

    Returns
    -------
    list of str
        Charts; none where no network was trained.
    """
    epochs = [line for line in metrics if "epoch" in line]
    judged = [row for row in choice.get("curve") or [] if "epochs" in row]
    drawn = []
    for key, words, percent in (("loss", "loss", False), ("accuracy", "accuracy", True)):
        series = [
            Series(_over(epochs, "epoch", key), "training images"),
            Series(_over(judged, "epochs", f"validation_{key}", "diamond"), "inner validation", other=True),
        ]
        series = [one for one in series if one.points]
        if series:
            axis = Axis(words, percent=percent, low=None if percent else 0.0)
            drawn.append(chart(series, Axis("epoch"), axis, f"{words.capitalize()} after each epoch"))
    for key, words in (("lr", "learning rate"), ("update_ratio", "update ratio")):
        points = [point for point in _over(epochs, "epoch", key) if point.y > 0]
        if points:
            title = f"{words.capitalize()} in each epoch"
            drawn.append(chart([Series(points)], Axis("epoch"), Axis(words, log=key != "lr"), title))
    return drawn


def trained_on_all(metrics: Sequence[Row]) -> bool:
    """Return whether there was a training on all training images."""
    return any("epoch" in line for line in metrics)


def _over(rows: Sequence[Row], x: str, y: str, mark: Mark = "dot") -> list[Point]:
    return [
        Point(row[x], row[y], title=f"epoch {row[x]}: {row[y]:.4g}", mark=mark)
        for row in rows
        if isinstance(row.get(y), int | float) and math.isfinite(row[y])
    ]
