"""Every chart of every page, drawn as SVG by hand: no script, no import that costs time.

A chart takes its colours from the page's CSS variables, for light and dark screens; :func:`standalone` makes
a file that brings its own. Marks differ in shape as well as in colour, and colour-blind readers can tell the
colours, blue and orange, apart (Okabe and Ito 2008, "Color universal design").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

__all__ = [
    "Axis",
    "Bar",
    "Histogram",
    "Level",
    "ParallelLine",
    "Point",
    "Series",
    "bar_chart",
    "chart",
    "histograms",
    "lr_curve",
    "parallel_chart",
    "standalone",
]

TEMPLATES = Path(__file__).parent / "templates"

WIDTH, HEIGHT = 680, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 24, 46

#: A mark's shape and colour; the CSS classes of charts.css.
Mark = Literal["dot", "ring", "hollow", "diamond"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes
    ----------
    label : str
    log : bool
        Whether it is logarithmic.
    percent : bool
        Whether its values are shares, to be printed in percent; it then ends at 0 and 1 at the furthest.
    categories : tuple of str
        The values, where they are words; points then hold one of them.
    low, high : float or None
        Its ends; by default those of the data. What lies beyond is drawn at the end.
    """

    label: str
    log: bool = False
    percent: bool = False
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """A point; the error bar goes from `low` to `high`, and `title` is shown where the mouse rests on it."""

    x: float | str
    y: float
    low: float | None = None
    high: float | None = None
    title: str = ""
    mark: Mark = "dot"


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes
    ----------
    points : sequence of Point
    name : str
        For the key; without it the key leaves the series out.
    joined : bool
        Whether a line joins the points, in their order.
    band : bool
        Whether `low` and `high` are drawn as a band and not as error bars.
    dashed : bool
        Whether the line is dashed, to tell it from another.
    """

    points: Sequence[Point]
    name: str = ""
    joined: bool = True
    band: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A labelled vertical line at a value of the horizontal axis."""

    value: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A horizontal bar, with an error bar from `low` to `high`."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    highlighted: bool = False


@dataclass(frozen=True)
class Histogram:
    """How often a layer's values are how large.

    Attributes
    ----------
    name : str
    counts : sequence of int
        Of bins of equal width.
    low, high : float
        Where the first bin begins and the last ends.
    highlighted : bool
        Whether it is drawn in the colour of what is wrong.
    """

    name: str
    counts: Sequence[int]
    low: float
    high: float
    highlighted: bool = False


@dataclass(frozen=True)
class ParallelLine:
    """A line across parallel axes: a value on each, and how dark it is drawn, from 0 to 1."""

    values: Sequence[float | str]
    opacity: float = 1.0
    title: str = ""


def chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    title: str,
    *,
    shaded: tuple[float, float] | None = None,
    levels: Sequence[Level] = (),
) -> str:
    """Draw lines with error bars or bands, or scattered points.

    Parameters
    ----------
    series : sequence of Series
    x, y : Axis
    title : str
        What the chart shows, for those who cannot see it.
    shaded : (float, float), optional
        A range of the horizontal axis that is shaded.
    levels : sequence of Level, optional
        Vertical lines.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    points = [point for one in series for point in one.points]
    across = _Scale(x, [point.x for point in points], LEFT, WIDTH - RIGHT, inside=True)
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    up = _Scale(y, ends, HEIGHT - BOTTOM, TOP)
    parts = []
    if shaded:
        a, b = across(shaded[0]), across(shaded[1])
        parts.append(
            f'<rect class="shaded" x="{a}" y="{TOP}" width="{b - a:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
        )
    parts += _horizontal_grid(up, LEFT, WIDTH - RIGHT) + _bottom_axis(across, x.label)
    parts.append(_text(LEFT, 10, y.label))
    for level in levels:
        place = across(level.value)
        parts.append(_line("level", place, TOP, place, HEIGHT - BOTTOM))
        parts.append(_text(place, TOP - 4, level.label, "middle"))
    for one in series:
        parts += _series(one, across, up)
    named = [one for one in series if one.name]
    if named:
        parts += _key(named)
    return _svg(parts, title, WIDTH, HEIGHT)


def lr_curve(
    curve: Sequence[tuple[float, float]],
    first_loss: float,
    works: tuple[float, float] | None,
    levels: Sequence[Level],
) -> str:
    """Draw the loss over the learning rate.

    Parameters
    ----------
    curve : sequence of (float, float)
        Learning rate and loss, from low to high; a loss that is not finite is left out.
    first_loss : float
        The loss before any update.
    works : (float, float) or None
        The range of learning rates that work.
    levels : sequence of Level
        Learning rates to mark.
    """
    points = [Point(lr, loss) for lr, loss in curve if math.isfinite(loss)]
    return chart(
        [Series(points), Series([Point(lr, first_loss) for lr, _ in curve], "loss before", dashed=True)],
        Axis("learning rate", log=True),
        Axis("loss", low=0.0, high=1.5 * first_loss),
        "Loss after an update at each learning rate",
        shaded=works,
        levels=levels,
    )


def bar_chart(bars: Sequence[Bar], x: Axis, title: str) -> str:
    """Draw horizontal bars, the first on top; parameters as for :func:`chart`."""
    left, step = 260, 26
    height = TOP + step * len(bars) + BOTTOM
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None]
    across = _Scale(x, [0.0, *ends], left, WIDTH - RIGHT)
    parts = _bottom_axis(across, x.label, height)
    for i, bar in enumerate(bars):
        y = TOP + step * i
        kind = "wrong" if bar.highlighted else "right"
        start, end = across(0.0), across(bar.value)
        value = f"{bar.value:.1%}" if x.percent else f"{bar.value:.4g}"
        parts.append(_text(left - 8, y + 14, f"{bar.label[:28]}  {value}", "end"))
        parts.append(
            f'<rect class="{kind}" x="{min(start, end)}" y="{y + 3}" width="{abs(end - start):.1f}" '
            f'height="16"><title>{escape(bar.label)}: {value}</title></rect>'
        )
        if bar.low is not None and bar.high is not None:
            parts.append(_line("error", across(bar.low), y + 11, across(bar.high), y + 11))
    return _svg(parts, title, WIDTH, height)


def histograms(found: Sequence[Histogram], title: str = "Histograms", columns: int = 6) -> str:
    """Draw many small histograms, `columns` of them side by side."""
    across, down, tall = 150, 92, 48
    parts = []
    for place, one in enumerate(found):
        x, y = place % columns * across + 8, place // columns * down + 18
        kind, most = ("wrong" if one.highlighted else "right"), max([*one.counts, 1])
        wide = (across - 16) / max(len(one.counts), 1)
        parts.append(_text(x, y - 5, one.name[-24:]))
        for i, count in enumerate(one.counts):
            high = tall * count / most
            parts.append(
                f'<rect class="{kind}" x="{x + i * wide:.1f}" y="{y + tall - high:.1f}" width="{wide:.1f}" '
                f'height="{high:.1f}"/>'
            )
        parts.append(_line("grid", x, y + tall, x + across - 16, y + tall))
        parts.append(_text(x, y + tall + 12, f"{one.low:.2g}"))
        parts.append(_text(x + across - 16, y + tall + 12, f"{one.high:.2g}", "end"))
    return _svg(parts, title, columns * across, -(-len(found) // columns) * down, small=True)


def parallel_chart(axes: Sequence[Axis], lines: Sequence[ParallelLine], title: str) -> str:
    """Draw parallel axes and a line across them for each of `lines`; the last are drawn above the others."""
    places = [round(LEFT + i * (WIDTH - LEFT - 60) / max(1, len(axes) - 1), 1) for i in range(len(axes))]
    scales = [
        _Scale(axis, [line.values[i] for line in lines], HEIGHT - BOTTOM, TOP, inside=True)
        for i, axis in enumerate(axes)
    ]
    parts = []
    for line in lines:
        points = " ".join(
            f"{x},{scale(value)}" for x, scale, value in zip(places, scales, line.values, strict=True)
        )
        parts.append(
            f'<polyline class="trace" points="{points}" opacity="{line.opacity:.2f}">'
            f"{_title(line.title)}</polyline>"
        )
    for axis, x, scale in zip(axes, places, scales, strict=True):
        parts.append(_line("grid", x, TOP, x, HEIGHT - BOTTOM))
        parts.append(_text(x, HEIGHT - 16, axis.label, "middle"))
        parts += [_text(x + 5, at + 4, label) for at, label in scale.ticks]
    return _svg(parts, title, WIDTH, HEIGHT)


def standalone(svg: str) -> str:
    """Return the content of an SVG file: a chart with its own colours, on its own background."""
    style = (TEMPLATES / "charts.css").read_text(encoding="utf-8")
    head, _, body = svg.partition(">")
    background = '<rect width="100%" height="100%" style="fill:var(--paper)"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{background}{body}\n'


class _Scale:
    """From values to places in the drawing, with the values to label.

    `inside` keeps the labels within the data's range; otherwise the axis ends at a label.
    """

    def __init__(
        self, axis: Axis, values: Sequence[float | str], first: float, last: float, inside: bool = False
    ) -> None:
        self._axis, self._first, self._last = axis, first, last
        if axis.categories:
            self._low, self._high = -0.5, len(axis.categories) - 0.5
            self.ticks = [(self(name), name) for name in axis.categories]
            return
        numbers = [float(value) for value in values] or [1.0]
        low = min(numbers) if axis.low is None else axis.low
        high = max(numbers) if axis.high is None else axis.high
        if axis.percent:
            low, high = max(0.0, low), min(1.0, high)
        place: Callable[[float], float] = math.log10 if axis.log else float
        if axis.log:
            if high / low < 1.01:
                low, high = low / 3, high * 3
            labels = _decades(low, high)
        else:
            labels = _round_steps(low, high, inside)
            if not inside:
                low, high = labels[0], labels[-1]
            elif high == low:
                low, high = low - 0.5, high + 0.5
        margin = 0.03 * (place(high) - place(low)) if inside else 0.0
        self._low, self._high = place(low) - margin, place(high) + margin
        self.ticks = [(self(value), _number(value, axis)) for value in labels]

    def __call__(self, value: float | str) -> float:
        if self._axis.categories:
            place = float(self._axis.categories.index(str(value)))
        else:
            place = math.log10(float(value)) if self._axis.log else float(value)
        share = min(max((place - self._low) / (self._high - self._low), 0.0), 1.0)
        return round(self._first + share * (self._last - self._first), 1)


def _series(one: Series, across: _Scale, up: _Scale) -> list[str]:
    parts = []
    spread = [p for p in one.points if p.low is not None and p.high is not None]
    if one.band and spread:
        edge = [f"{across(p.x)},{up(p.high or 0.0)}" for p in spread]
        edge += [f"{across(p.x)},{up(p.low or 0.0)}" for p in reversed(spread)]
        parts.append(f'<polygon class="band" points="{" ".join(edge)}"/>')
    if one.joined:
        path = " ".join(f"{across(p.x)},{up(p.y)}" for p in one.points)
        parts.append(f'<polyline class="trace{" dashed" if one.dashed else ""}" points="{path}"/>')
    if not one.band:
        parts += [
            _line("error", across(p.x), up(p.low or 0.0), across(p.x), up(p.high or 0.0)) for p in spread
        ]
    if not one.dashed:
        parts += [_mark(p.mark, across(p.x), up(p.y), p.title) for p in one.points]
    return parts


def _mark(kind: str, x: float, y: float, title: str = "") -> str:
    if kind == "diamond":
        corners = f"{x},{y - 6:.1f} {x + 6:.1f},{y} {x},{y + 6:.1f} {x - 6:.1f},{y}"
        return f'<polygon class="mark diamond" points="{corners}">{_title(title)}</polygon>'
    radius = 6 if kind == "ring" else 3
    return f'<circle class="mark {kind}" cx="{x}" cy="{y}" r="{radius}">{_title(title)}</circle>'


def _key(named: Sequence[Series]) -> list[str]:
    parts, x = [], float(WIDTH - RIGHT)
    for one in reversed(named):
        parts.append(_text(x, 10, one.name, "end"))
        x -= 7.0 * len(one.name) + 10
        if one.joined:
            parts.append(_line("trace dashed" if one.dashed else "trace", x - 14, 6, x, 6))
        else:
            parts.append(_mark(one.points[0].mark if one.points else "dot", x - 4, 6))
        x -= 30
    return parts


def _horizontal_grid(up: _Scale, left: float, right: float) -> list[str]:
    parts = []
    for at, label in up.ticks:
        parts += [_line("grid", left, at, right, at), _text(left - 8, at + 4, label, "end")]
    return parts


def _bottom_axis(across: _Scale, label: str, height: int = HEIGHT) -> list[str]:
    parts = []
    for at, tick in across.ticks:
        parts.append(_line("grid", at, height - BOTTOM, at, height - BOTTOM + 5))
        parts.append(_text(at, height - BOTTOM + 20, tick, "middle"))
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, height - 6, label, "middle")]


def _svg(parts: Sequence[str], title: str, width: int, height: int, small: bool = False) -> str:
    kind = "chart small" if small else "chart"
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, *parts, "</svg>"])


def _title(title: str) -> str:
    return f"<title>{escape(title)}</title>" if title else ""


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _round_steps(low: float, high: float, inside: bool) -> list[float]:
    """Round numbers, at least two, that enclose low and high or, with `inside`, lie between them."""
    if high == low:  # a flat curve gets a step of room below, where an accuracy of 1 has some too
        low, high = (low - 0.01, high) if low > 0 else (low, low + 0.01)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * (1 - 1e-9))
    first, last = low / step, high / step
    if inside:
        return [round(i * step, 12) for i in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
    return [round(i * step, 12) for i in range(math.floor(first + 1e-9), math.ceil(last - 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between low and high, at most ten of them; within a decade its ends and middle."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    found = [10.0**e for e in range(first, last + 1, 1 + max(0, last - first) // 10)]
    if len(found) > 1:
        return found
    return [float(f"{value:.2g}") for value in (low, math.sqrt(low * high), high)]


def _number(value: float, axis: Axis) -> str:
    if axis.percent:
        return f"{100 * value:g}%"
    if axis.log and value > 0 and 10.0 ** round(math.log10(value)) == value:
        exponent = round(math.log10(value))
        return f"{value:g}" if exponent in (0, 1) else "10" + str(exponent).translate(_SUPERSCRIPT)
    return f"{value:g}"
