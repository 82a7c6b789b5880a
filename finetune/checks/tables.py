"""The results of all checks, for the terminal."""

import shlex
from typing import TYPE_CHECKING, Any

from finetune.checks.contract import CheckResult
from finetune.checks.record import CheckRecord

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_checks", "shown", "verdict"]

_COLOURS = {"pass": "green", "warn": "yellow", "fail": "bold red"}

#: Images that the screen names; the page shows more, check.json all.
_NAMED = 5


def print_checks(record: CheckRecord, console: "Console") -> None:
    """Print one row for each result, then the images to look at first.

    Parameters
    ----------
    record : CheckRecord
    console : rich.console.Console
        Where to print.
    """
    from rich.table import Table

    from zoo.cli.console import escape

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, most in (
        ("", 4),
        ("check", 30),
        ("value", 24),
        ("should be", 32),
        ("what it means, what to do", None),
    ):
        table.add_column(heading, max_width=most, overflow="fold")
    for result in record.checks:
        status = f"[{_COLOURS[result.status]}]{result.status}[/]"
        words = escape(f"{result.meaning} ") + f"[bold]{escape(result.fix)}[/]"
        name = f"{result.check}: {result.name}"
        table.add_row(status, escape(name), escape(shown(result)), escape(result.threshold), words)
    console.print()
    console.print(table)
    console.print()
    for warning in record.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")
    console.print("Likeliest label errors and outliers:")
    for image in record.images[:_NAMED]:
        console.print("  " + escape(_line(image)), soft_wrap=True)
    console.print(f"\n{verdict(record)} {record.seconds['total']:.1f} s.")
    folder = shlex.quote(str(record.path))
    console.print(escape(f"Next: open {folder}/check.html  (shows these images)"), soft_wrap=True)


def shown(result: CheckResult) -> str:
    """Return a result's value as text."""
    value = result.value
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def verdict(record: CheckRecord) -> str:
    """Return the counts in a sentence."""
    counts = {status: sum(f.status == status for f in record.checks) for status in _COLOURS}
    return f"{counts['pass']} passed, {counts['warn']} warned, {counts['fail']} failed."


def _line(image: dict[str, Any]) -> str:
    return (
        f"{image['path']}: labelled {image['label']} ({image['p_label']:.0%}), predicted "
        f"{image['predicted']} ({image['p_predicted']:.0%}), outlier score {image['outlier_score']:.1f}"
    )
