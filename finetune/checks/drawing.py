"""Plots for the page of checks, as SVG files that stand alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Histogram", "Level", "histograms", "lr_curve"]

_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" '
    'font-family="sans-serif" font-size="{2}"><rect width="{0}" height="{1}" fill="white"/>'
)
_INK, _SOFT, _LINE, _BAND, _BAD = "#222", "#777", "#1f6fb2", "#dcefdc", "#c0392b"


@dataclass(frozen=True)
class Level:
    """A learning rate that is marked, with a word."""

    lr: float
    word: str


@dataclass(frozen=True)
class Histogram:
    """The distribution of a layer's values.

    Attributes
    ----------
    name : str
        Of the layer.
    counts : sequence of int
        By bins of one width.
    low, high : float
        Where the first bin starts and the last ends.
    bad : bool
        Whether to draw it in red.
    """

    name: str
    counts: Sequence[int]
    low: float
    high: float
    bad: bool = False


def lr_curve(
    curve: Sequence[tuple[float, float]],
    first: float,
    works: tuple[float, float] | None,
    marked: Sequence[Level],
) -> str:
    """Draw the loss over the learning rate.

    Parameters
    ----------
    curve : sequence of (learning rate, loss)
        From low to high; a loss that is not finite is left out.
    first : float
        The loss at the start.
    works : (float, float) or None
        The range of learning rates that work.
    marked : sequence of Level
        Learning rates to mark.

    Returns
    -------
    str
        An SVG file's content.
    """
    width, height, left, right, top, bottom = 680, 300, 60, 16, 24, 46
    points = [(lr, loss) for lr, loss in curve if math.isfinite(loss)]
    lowest, highest = -6.0, math.ceil(max([math.log10(lr) for lr, _ in points] + [0.0]))
    tallest = 1.5 * first

    def x(lr: float) -> float:
        place = (min(max(math.log10(lr), lowest), highest) - lowest) / (highest - lowest)
        return round(left + (width - left - right) * place, 1)

    def y(loss: float) -> float:
        return round(height - bottom - (height - top - bottom) * min(loss / tallest, 1), 1)

    parts = [_HEAD.format(width, height, 12)]
    if works:
        parts.append(
            f'<rect x="{x(works[0])}" width="{x(works[1]) - x(works[0]):.1f}" y="{top}" '
            f'height="{height - top - bottom}" fill="{_BAND}"/>'
        )
        ends = (left, x(works[0]), x(works[1]), width - right)
        parts += [
            _text((a + b) / 2, top - 8, word)
            for word, a, b in zip(("too low", "works", "too high"), ends[:-1], ends[1:], strict=True)
        ]
    for decade in range(int(lowest), int(highest) + 1):
        parts.append(_text(x(10.0**decade), height - bottom + 18, f"1e{decade}"))
    for loss in (0.0, first):
        parts.append(_line(left, y(loss), width - right, y(loss), "#ddd"))
        parts.append(_text(left - 6, y(loss) + 4, f"{loss:.2g}", "end"))
    for level in marked:
        parts.append(_line(x(level.lr), top, x(level.lr), height - bottom, _SOFT, "3 3"))
        parts.append(_text(x(level.lr), height - bottom + 32, level.word))
    path = " ".join(f"{x(lr)},{y(loss)}" for lr, loss in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    parts.append(_text((left + width - right) / 2, height - 2, "loss after an update at each learning rate"))
    return "\n".join([*parts, "</svg>\n"])


def histograms(plots: Sequence[Histogram], columns: int = 6) -> str:
    """Draw many small histograms.

    Parameters
    ----------
    plots : sequence of Histogram
    columns : int, optional
        Number of columns.

    Returns
    -------
    str
        An SVG file's content.
    """
    across, down, tall = 150, 92, 48
    rows = -(-len(plots) // columns)
    parts = [_HEAD.format(columns * across, rows * down, 10)]
    for place, one in enumerate(plots):
        x, y = place % columns * across + 8, place // columns * down + 18
        colour, most = _BAD if one.bad else _LINE, max([*one.counts, 1])
        parts.append(_text(x, y - 5, one.name[-24:], "start", colour if one.bad else _INK))
        wide = (across - 16) / max(len(one.counts), 1)
        for i, count in enumerate(one.counts):
            high = tall * count / most
            parts.append(
                f'<rect x="{x + i * wide:.1f}" y="{y + tall - high:.1f}" width="{wide:.1f}" '
                f'height="{high:.1f}" fill="{colour}"/>'
            )
        parts.append(_line(x, y + tall, x + across - 16, y + tall, _SOFT))
        parts.append(_text(x, y + tall + 12, f"{one.low:.2g}", "start", _SOFT))
        parts.append(_text(x + across - 16, y + tall + 12, f"{one.high:.2g}", "end", _SOFT))
    return "\n".join([*parts, "</svg>\n"])


def _text(x: float, y: float, words: str, anchor: str = "middle", colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-dasharray="{dashes}"/>'
