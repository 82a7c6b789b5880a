"""``finetune report``: write a run's report again."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["report"]


def report(run: Annotated[Path, Parameter(help="A run folder.")]) -> None:
    """Write a run's report.html again."""
    from finetune.report import write_report
    from finetune.runs import Run

    print(write_report(Run.load(run), run))
