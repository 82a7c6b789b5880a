"""What a person reads at the end of a check."""

import shlex
from typing import TYPE_CHECKING, Any

from finetune.checks.contract import Finding
from finetune.checks.record import CheckRecord

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_checks", "shown", "verdict"]

_COLOURS = {"pass": "green", "warn": "yellow", "fail": "bold red"}

#: Suspects that the screen names; the page shows more, check.json all.
_NAMED = 5


def print_checks(record: CheckRecord, console: "Console") -> None:
    """Print one row a finding, then what to look at first.

    Parameters
    ----------
    record : CheckRecord
    console : rich.console.Console
        Where to print.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, most in (
        ("", 4),
        ("check", 30),
        ("value", 24),
        ("should be", 32),
        ("what it means, what to do", None),
    ):
        table.add_column(heading, max_width=most, overflow="fold")
    for finding in record.checks:
        status = f"[{_COLOURS[finding.status]}]{finding.status}[/]"
        words = escape(f"{finding.meaning} ") + f"[bold]{escape(finding.todo)}[/]"
        name = f"{finding.check}: {finding.name}"
        table.add_row(status, escape(name), escape(shown(finding)), escape(finding.threshold), words)
    console.print()
    console.print(table)
    console.print()
    for warning in record.warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}")
    console.print("Images that look least like their class:")
    for suspect in record.suspects[:_NAMED]:
        console.print("  " + escape(_suspect(suspect)), soft_wrap=True)
    console.print(f"\n{verdict(record)} {record.seconds['total']:.1f} s.")
    folder = shlex.quote(str(record.path))
    console.print(escape(f"Next: open {folder}/check.html  (the images themselves)"), soft_wrap=True)


def shown(finding: Finding) -> str:
    """Return a finding's value for people."""
    value = finding.value
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def verdict(record: CheckRecord) -> str:
    """Sum a record up in a sentence."""
    counts = {status: sum(f.status == status for f in record.checks) for status in _COLOURS}
    return f"{counts['pass']} passed, {counts['warn']} to look at, {counts['fail']} failed."


def _suspect(suspect: dict[str, Any]) -> str:
    return (
        f"{suspect['path']}: labelled {suspect['label']} ({suspect['p_label']:.0%}), looks like "
        f"{suspect['looks_like']} ({suspect['p_looks_like']:.0%}), strangeness {suspect['strangeness']:.1f}"
    )
