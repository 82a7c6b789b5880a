"""Parts that other commands add to a page: a heading with what stands below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.runs import Leaderboard

__all__ = ["Section", "Table", "leaderboard", "tried"]

#: What is printed of a candidate's status.


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


def tried(board: Leaderboard) -> Section:
    """Return all that ``finetune auto`` tried, the chosen one first."""
    rows = [
        (
            *(row.name, row.accuracy, *row.ci95, f"{row.log_loss:.3f}", f"{row.n_images:,}"),
            *(f"{row.seconds:.1f}", f"{row.milliseconds:.0f}", row.remark),
        )
        for row in board.rows
    ]
    lo, hi = board.ci95
    text = [
        board.verdict,
        f"Corrected for the choice: {board.accuracy:.1%} ({lo:.1%} to {hi:.1%}), by {board.judged_on} on "
        "training images. The accuracies below are not corrected.",
        *(f"Dropped: {row.name}: {row.reason}" for row in board.rows if row.reason),
        *(f"Not tried: {skipped.name}: {skipped.reason}" for skipped in board.not_tried),
    ]
    best = [i for i, row in enumerate(board.rows) if row.status in ("chosen", "alike")]
    headings = ["log loss", "images", "training s", "ms an image", ""]
    return leaderboard(rows, headings, title="What was tried", text=text, best=best)
