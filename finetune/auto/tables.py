"""The leaderboard on the screen."""

from typing import TYPE_CHECKING

from finetune.runs import Leaderboard, LeaderboardRow

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_leaderboard"]

HEADINGS = ("tried", "accuracy", "95% interval", "log loss", "images", "seconds", "ms an image", "")


def print_leaderboard(board: Leaderboard, console: "Console") -> None:
    """Print what was tried, what was not, and the verdict.

    Parameters
    ----------
    board : Leaderboard
    console : rich.console.Console
        Where to print.
    """
    from zoo.cli.console import escape, ranking

    table = ranking(HEADINGS)
    for row in board.rows:
        table.add_row(*map(escape, _cells(row)), style="bold" if row.status == "chosen" else None)
    console.print()
    console.print(table)
    for skipped in board.not_tried:
        console.print(
            f"[yellow]Not tried:[/] {escape(skipped.name)}: {escape(skipped.reason)}", soft_wrap=True
        )
    lo, hi = board.ci95
    console.print()
    console.print(escape(board.verdict), soft_wrap=True)
    console.print(
        f"Corrected for the choice: {board.accuracy:.1%} ({lo:.1%} to {hi:.1%}), {board.judged_on}. "
        f"Plain probe, held-out, for the record: {board.probe_accuracy:.1%} ({board.probe_ci95[0]:.1%} to "
        f"{board.probe_ci95[1]:.1%}).",
        soft_wrap=True,
    )
    console.print(f"Alone: {escape(board.command)}", soft_wrap=True)


def _cells(row: LeaderboardRow) -> tuple[str, ...]:
    lo, hi = row.ci95
    return (
        row.name,
        f"{row.accuracy:.1%}",
        f"{lo:.1%} to {hi:.1%}",
        f"{row.log_loss:.3f}",
        f"{row.n_images:,}",
        f"{row.seconds:.1f}",
        f"{row.milliseconds:.1f}",
        row.remark,
    )
