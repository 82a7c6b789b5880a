"""Where the marks of a chart stand; the templates draw them as SVG."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Curve", "Mark", "Tick", "curve"]

WIDTH, HEIGHT = 680, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 46

_NAMES = {"l2": "L2 strength", "c": "C", "k": "number of neighbours k", "epochs": "epochs of training"}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis; `at` counts in the drawing's units."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """One candidate: its place, its error bar from `low` to `high`, and its row of the table."""

    x: float
    y: float
    low: float
    high: float
    chosen: bool
    row: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """Accuracy over one hyperparameter, ready to be drawn.

    Attributes
    ----------
    name : str
        The hyperparameter, in words.
    folds : bool
        Whether it is the mean over cross-validation's folds, and not that of one inner split.
    key : str
        Its key in the data.
    marks : list of Mark
        From left to right.
    x_ticks, y_ticks : list of Tick
    columns : list of str
        Keys that every point has, in the order of the table.
    width, height, left, right, top, bottom : int
        Of the drawing and its margins.
    """

    name: str
    folds: bool
    key: str
    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    columns: list[str]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def curve(choice: Mapping[str, Any]) -> Curve | None:
    """Lay out the curve of a run's choice.

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
    points: Sequence[Mapping[str, float]] = choice.get("curve") or []
    if len(points) < 2:
        return None
    key = next(iter(points[0]))
    points = sorted(points, key=lambda point: point[key])
    xs = [float(point[key]) for point in points]
    folds = "cv_accuracy" in points[0]
    scores = [point["cv_accuracy" if folds else "validation_accuracy"] for point in points]
    spread = [point.get("cv_std") or 0.0 for point in points]
    lows = [score - s for score, s in zip(scores, spread, strict=True)]
    highs = [score + s for score, s in zip(scores, spread, strict=True)]
    chosen = choice.get(key)
    if chosen not in xs:
        chosen = xs[scores.index(max(scores))]

    # A grid of powers has its middle near its lower end, a grid of equal steps half-way up.
    logarithmic = xs[0] > 0 and xs[len(xs) // 2] < xs[-1] / 4
    place = math.log10 if logarithmic else float
    across = _scale(place(xs[0]), place(xs[-1]), LEFT + 20, WIDTH - RIGHT - 20)
    y_values = _round_steps(max(0.0, min(lows)), min(1.0, max(highs)))
    up = _scale(y_values[0], y_values[-1], HEIGHT - BOTTOM, TOP)
    marks = [
        Mark(
            across(place(x)),
            up(score),
            up(max(0.0, low)),
            up(min(1.0, high)),
            x == chosen,
            dict(point),
        )
        for x, score, low, high, point in zip(xs, scores, lows, highs, points, strict=True)
    ]
    x_values = _decades(xs[0], xs[-1]) if logarithmic else _round_steps(xs[0], xs[-1], inside=True)
    return Curve(
        name=_NAMES.get(key, key.replace("_", " ")),
        folds=folds,
        key=key,
        marks=marks,
        x_ticks=[Tick(across(place(x)), _power(x) if logarithmic else f"{x:g}") for x in x_values],
        y_ticks=[Tick(up(y), f"{100 * y:g}%") for y in y_values],
        columns=[name for name in points[0] if all(name in point for point in points)],
    )


def _scale(start: float, end: float, first: float, last: float) -> Callable[[float], float]:
    """Map the values from start to end onto the places from first to last."""
    width = end - start or 1.0
    return lambda value: round(first + (last - first) * (value - start) / width, 1)


def _round_steps(low: float, high: float, inside: bool = False) -> list[float]:
    """Round numbers, at least two, that enclose low and high or, if asked, lie between them."""
    if high == low:  # a flat curve gets a step of room below, where an accuracy of 1 has some too
        low = max(0.0, low - 0.01)
        high = low + 0.01
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * (1 - 1e-9))
    first, last = low / step, high / step
    if inside:
        return [round(i * step, 12) for i in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
    return [round(i * step, 12) for i in range(math.floor(first + 1e-9), math.ceil(last - 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between low and high, at most ten of them."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**e for e in range(first, last + 1, 1 + (last - first) // 10)]


def _power(value: float) -> str:
    """Write 0.001 as ten to the power of minus three; 1 and 10 as they are."""
    exponent = round(math.log10(value))
    return f"{value:g}" if exponent in (0, 1) else "10" + str(exponent).translate(_SUPERSCRIPT)
