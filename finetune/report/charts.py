"""Every chart of every page, drawn as SVG by hand: no script, no import that costs time.

A chart takes its colours from the page's CSS variables, for light and dark screens; :func:`standalone` makes
a file that brings its own. Marks differ in shape as well as in colour, and colour-blind readers can tell the
colours apart (Okabe and Ito 2008, "Color universal design"). A chart is about as wide as a phone's screen, so
that its words can be read there; on wider screens two stand side by side.
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
    "Bin",
    "Dot",
    "Histogram",
    "Level",
    "ParallelLine",
    "Point",
    "Series",
    "bar_chart",
    "calibration_chart",
    "chart",
    "class_mark",
    "histograms",
    "lr_curve",
    "parallel_chart",
    "scatter",
    "standalone",
]

TEMPLATES = Path(__file__).parent / "templates"

WIDTH, HEIGHT = 400, 256
LEFT, RIGHT, TOP, BOTTOM = 50, 20, 44, 44

#: Height of the counts below a calibration curve.
COUNTS = 64

#: Letters of a bar's label that leave room for its value.
LETTERS = 40

#: Height of a map of images.
SQUARE = 360

#: Images from which on a map has smaller marks.
CROWD = 600

#: Colours and shapes of classes: the first 8 differ in colour, the first 48 in colour or shape.
COLOURS, SHAPES = 8, 6

#: Corners of each shape: circle, square, triangle, diamond, triangle on its tip, cross.
_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.2), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    ((0, 1.2), (1.2, -0.9), (-1.2, -0.9)),
    (
        *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
        *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    ),
)

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
    other : bool
        Whether it is drawn in the second colour.
    """

    points: Sequence[Point]
    name: str = ""
    joined: bool = True
    band: bool = False
    dashed: bool = False
    other: bool = False


@dataclass(frozen=True)
class Level:
    """A labelled vertical line at a value of the horizontal axis."""

    value: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A horizontal bar with its label above, an error bar from `low` to `high`, and a diamond at `other`."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    highlighted: bool = False
    other: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Bin:
    """Images whose predicted probability lies between `start` and `end`.

    Attributes
    ----------
    start, end : float
    n : int
        How many images.
    probability : float
        The mean of their predicted probabilities.
    accuracy : float
        The share that was predicted correctly.
    low, high : float
        95% interval of the accuracy.
    """

    start: float
    end: float
    n: int
    probability: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Dot:
    """An image on a map: its place, its class's number, and what sets it apart.

    `held_out` ones are larger and outlined, `wrong` ones have a ring around them.
    """

    x: float
    y: float
    kind: int
    name: str
    held_out: bool = False
    wrong: bool = False


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
    parts.append(_text(4, TOP - 12, y.label))
    for level in levels:
        place = across(level.value)
        parts.append(_line("level", place, TOP, place, HEIGHT - BOTTOM))
        parts.append(_text(place, TOP - 12, level.label, "middle"))
    for one in series:
        parts += _series(one, across, up)
    parts += _key([one for one in series if one.name])
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
    left, step, top = 4, 40, 4
    height = top + step * len(bars) + BOTTOM
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, bar.other) if end is not None]
    across = _Scale(x, [0.0, *ends], left, WIDTH - RIGHT)
    parts = _bottom_axis(across, x.label, height, left)
    for i, bar in enumerate(bars):
        y = top + step * i
        kind = "wrong" if bar.highlighted else "right"
        start, end = across(0.0), across(bar.value)
        value = f"{bar.value:.1%}" if x.percent else f"{bar.value:.4g}"
        label = bar.label if len(bar.label) <= LETTERS else bar.label[: LETTERS - 1] + "…"
        parts.append(_text(left, y + 13, label, kind="strong"))
        parts.append(_text(WIDTH - RIGHT, y + 13, f"{value}{bar.note and '  '}{bar.note}", "end"))
        parts.append(
            f'<rect class="{kind}" x="{min(start, end)}" y="{y + 19}" width="{abs(end - start):.1f}" '
            f'height="14"><title>{escape(bar.label)}: {value}</title></rect>'
        )
        if bar.low is not None and bar.high is not None:
            parts.append(_line("error", across(bar.low), y + 26, across(bar.high), y + 26))
        if bar.other is not None:
            parts.append(_mark("diamond", across(bar.other), y + 26))
    return _svg(parts, title, WIDTH, height)


def calibration_chart(bins: Sequence[Bin], title: str) -> str:
    """Draw accuracy over predicted probability, with the number of images of each bin below.

    Parameters
    ----------
    bins : sequence of Bin
        Those that hold images.
    title : str
        As for :func:`chart`.
    """
    across = _Scale(Axis("", percent=True, low=0.0, high=1.0), [], LEFT, WIDTH - RIGHT)
    up = _Scale(Axis("", percent=True, low=0.0, high=1.0), [], HEIGHT - BOTTOM, TOP)
    ground, most = HEIGHT - 4 + COUNTS, max((one.n for one in bins), default=1)
    parts = [*_horizontal_grid(up, LEFT, WIDTH - RIGHT), *_bottom_axis(across, "predicted probability")]
    parts += [_text(4, TOP - 12, "accuracy"), _text(4, HEIGHT + 18, "images")]
    parts.append(_line("trace dashed", across(0), up(0), across(1), up(1)))
    for one in bins:
        words = f"{one.n} images between {one.start:.0%} and {one.end:.0%}: {one.accuracy:.1%} correct"
        place, middle = across(one.probability), (across(one.start) + across(one.end)) / 2
        tall, wide = (COUNTS - 26) * one.n / most, across(one.end) - across(one.start) - 4
        parts.append(_line("error", place, up(one.low), place, up(one.high)))
        radius = 2.5 + 4 * math.sqrt(one.n / most)  # few images count for little
        parts.append(
            f'<circle class="mark dot" cx="{place}" cy="{up(one.accuracy)}" r="{radius:.1f}">'
            f"{_title(words)}</circle>"
        )
        parts.append(
            f'<rect class="right" x="{middle - wide / 2:.1f}" y="{ground - tall:.1f}" '
            f'width="{wide:.1f}" height="{tall:.1f}"/>'
        )
        parts.append(_text(middle, ground - tall - 4, str(one.n), "middle"))
    path = " ".join(f"{across(one.probability)},{up(one.accuracy)}" for one in bins)
    parts.append(f'<polyline class="trace faint" points="{path}"/>')
    return _svg(parts, title, WIDTH, HEIGHT + COUNTS)


def scatter(
    dots: Sequence[Dot], means: Sequence[tuple[float, float, int, str]], axes: tuple[str, str], title: str
) -> str:
    """Draw a map of images with the means of their classes, both axes in the same unit.

    Parameters
    ----------
    dots : sequence of Dot
        Later ones are drawn above earlier ones. Each gets its place in the sequence as ``data-i``.
    means : sequence of (float, float, int, str)
        Of each class: its place, its number and its name.
    axes : (str, str)
        What the axes are.
    title : str
        As for :func:`chart`.
    """
    place = _plane([(dot.x, dot.y) for dot in dots])
    small, large = (3.2, 4.2) if len(dots) < CROWD else (2.3, 3.2)
    parts = []
    for i, dot in enumerate(dots):
        x, y = place(dot.x, dot.y)
        kind = f"dot{dot.kind % COLOURS}{' held' if dot.held_out else ''}"
        shape = _shape(dot.kind, x, y, large if dot.held_out else small)
        parts.append(f'<path class="{kind}" d="{shape}" data-i="{i}" data-n="{escape(dot.name)}"/>')
        if dot.wrong:
            parts.append(f'<circle class="around" cx="{x}" cy="{y}" r="8"/>')
    labels = [(*place(x, y), kind, name) for x, y, kind, name in means]
    parts += [
        f'<path class="mean dot{kind % COLOURS}" d="{_shape(kind, x, y, 8)}"/>' for x, y, kind, _ in labels
    ]
    parts += [_text(x, y, name, "middle", kind="mean") for x, y, name in _apart(labels)]
    parts.append(_text(WIDTH / 2, SQUARE + 14, f"→ {axes[0]}", "middle"))
    parts.append(_text(4, 12, f"↑ {axes[1]}"))
    return _svg(parts, title, WIDTH, SQUARE + 20)


def class_mark(kind: int) -> str:
    """Return the mark of a class on a map, to stand before its name."""
    return (
        f'<svg class="chart key" viewBox="0 0 14 14" aria-hidden="true">'
        f'<path class="dot{kind % COLOURS} held" d="{_shape(kind, 7, 7, 5)}"/></svg>'
    )


def histograms(found: Sequence[Histogram], title: str = "Histograms", columns: int = 3) -> str:
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
    width = max(WIDTH, 140 * len(axes))
    places = [round(LEFT + i * (width - LEFT - 60) / max(1, len(axes) - 1), 1) for i in range(len(axes))]
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
    return _svg(parts, title, width, HEIGHT)


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
        parts.append(f'<polyline class="{_trace(one)}" points="{path}"/>')
    if not one.band:
        parts += [
            _line("error", across(p.x), up(p.low or 0.0), across(p.x), up(p.high or 0.0)) for p in spread
        ]
    if not one.dashed:
        parts += [_mark(p.mark, across(p.x), up(p.y), p.title) for p in one.points]
    return parts


def _trace(one: Series) -> str:
    return f"trace{' dashed' if one.dashed else ''}{' other' if one.other else ''}"


def _mark(kind: str, x: float, y: float, title: str = "") -> str:
    if kind == "diamond":
        corners = f"{x},{y - 6:.1f} {x + 6:.1f},{y} {x},{y + 6:.1f} {x - 6:.1f},{y}"
        return f'<polygon class="mark diamond" points="{corners}">{_title(title)}</polygon>'
    radius = 6 if kind == "ring" else 3
    return f'<circle class="mark {kind}" cx="{x}" cy="{y}" r="{radius}">{_title(title)}</circle>'


def _key(named: Sequence[Series]) -> list[str]:
    """Marks with names, side by side above everything else."""
    letters = sum(len(one.name) for one in named)
    letter = min(6.8, (WIDTH - 34.0 * len(named)) / max(1, letters))
    parts, x = [], 4.0
    for one in named:
        if one.joined:
            parts.append(_line(_trace(one), x, 8, x + 14, 8))
        if not one.dashed:
            parts.append(_mark(one.points[0].mark if one.points else "dot", x + 7, 8))
        parts.append(_text(x + 20, 12, one.name))
        x += 34 + letter * len(one.name)
    return parts


def _plane(points: Sequence[tuple[float, float]]) -> Callable[[float, float], tuple[float, float]]:
    """Return what turns coordinates into places in a map, one unit as long in both directions."""
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    middle = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    unit = min(
        (WIDTH - 24) / (max(xs) - min(xs) or 1.0),
        (SQUARE - 44) / (max(ys) - min(ys) or 1.0),
    )

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(WIDTH / 2 + unit * (x - middle[0]), 1),
            round((SQUARE + 16) / 2 - unit * (y - middle[1]), 1),
        )

    return place


def _shape(kind: int, x: float, y: float, r: float) -> str:
    """The path of a class's shape, about as large as a circle of radius r."""
    corners = _CORNERS[(kind % COLOURS + kind // COLOURS) % SHAPES]
    if not corners:
        return f"M{x - r:.1f} {y:.1f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0-{2 * r:g} 0"
    return "M" + "L".join(f"{x + r * right:.1f} {y + r * down:.1f}" for right, down in corners) + "z"


def _apart(labels: Sequence[tuple[float, float, int, str]]) -> list[tuple[float, float, str]]:
    """Labels above their places, moved down where one would lie on another."""
    found: list[tuple[float, float, str]] = []
    for x, y, _, name in sorted(labels, key=lambda label: label[1]):
        at, half = y - 12, 3.6 * len(name)
        x = min(max(x, half + 2), WIDTH - half - 2)
        for ox, oy, other in found:
            if abs(ox - x) < half + 3.6 * len(other) and at - oy < 14:
                at = oy + 14
        found.append((x, at, name))
    return found


def _horizontal_grid(up: _Scale, left: float, right: float) -> list[str]:
    parts = []
    for at, label in up.ticks:
        parts += [_line("grid", left, at, right, at), _text(left - 8, at + 4, label, "end")]
    return parts


def _bottom_axis(across: _Scale, label: str, height: int = HEIGHT, left: float = LEFT) -> list[str]:
    parts = []
    for at, tick in across.ticks:
        parts.append(_line("grid", at, height - BOTTOM, at, height - BOTTOM + 5))
        inside = min(max(at, 2 + 4 * len(tick)), WIDTH - 2 - 4 * len(tick))
        parts.append(_text(inside, height - BOTTOM + 20, tick, "middle"))
    return [*parts, _text((left + WIDTH - RIGHT) / 2, height - 6, label, "middle")]


def _svg(parts: Sequence[str], title: str, width: int, height: int, small: bool = False) -> str:
    kind = "chart small" if small else "chart"
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, *parts, "</svg>"])


def _title(title: str) -> str:
    return f"<title>{escape(title)}</title>" if title else ""


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


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
    if 0 < abs(value) < 1e-3:  # 5e-4 takes less room than 0.0005
        mantissa, _, power = f"{value:e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{value:g}"
