"""Parts that other commands add to a page: a heading with what stands below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Section", "Table", "leaderboard"]


@dataclass(frozen=True)
class Table:
    """A table of text; everything is escaped.

    Attributes
    ----------
    headings : sequence of str
    rows : sequence of sequences of str
        As long as the headings.
    numeric : collection of int
        Columns that are aligned to the right.
    highlighted : collection of int
        Rows that stand out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()
    highlighted: Sequence[int] = ()


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    title : str
    text : sequence of str
        Paragraphs.
    charts : sequence of str
        From :mod:`finetune.report.charts`.
    table : Table or None
    anchor : str
        What links go to; by default made from the title.
    """

    title: str
    text: Sequence[str] = ()
    charts: Sequence[str] = ()
    table: Table | None = None
    anchor: str = field(default="")

    @property
    def id(self) -> str:
        """The anchor, as a name that HTML allows."""
        return self.anchor or "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


def leaderboard(
    rows: Sequence[Sequence[Any]],
    headings: Sequence[str],
    *,
    title: str = "Leaderboard",
    text: Sequence[str] = (),
    best: Sequence[int] = (0,),
) -> Section:
    """Return candidates side by side, with their accuracies drawn.

    Parameters
    ----------
    rows : sequence of (name, accuracy, low, high, *cells)
        A candidate each, the best first: its name, its accuracy with its interval (None where there is none),
        and further cells of text.
    headings : sequence of str
        Of the further cells.
    title, text : optional
        Of the section.
    best : sequence of int, optional
        Rows that stand out: the best, and those that do not differ from it.

    Examples
    --------
    >>> section = leaderboard([("probe", 0.94, 0.9, 0.97, "0.4 s")], ["time"])
    >>> section.table.rows
    [['probe', '94.0%', '90.0% to 97.0%', '0.4 s']]
    """
    from finetune.report.charts import Axis, Bar, bar_chart

    bars = [Bar(str(name), accuracy, low, high) for name, accuracy, low, high, *_ in rows]
    cells = [
        [str(name), f"{accuracy:.1%}", "" if low is None else f"{low:.1%} to {high:.1%}", *map(str, rest)]
        for name, accuracy, low, high, *rest in rows
    ]
    table = Table(
        ("", "accuracy", "95% interval", *headings), cells, range(1, 3 + len(headings)), tuple(best)
    )
    chart = bar_chart(bars, Axis("accuracy", percent=True, high=1.0), f"{title}: accuracies with intervals")
    return Section(title, tuple(text), (chart,), table)
