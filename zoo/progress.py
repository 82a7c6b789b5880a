"""A progress bar for people, silence for everything else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["progress"]

#: Whether a bar is shown already: parts of that task show none of their own.
_SHOWN: ContextVar[bool] = ContextVar("shown", default=False)


@contextmanager
def progress(description: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show how far a long task has come, on standard error, if that is a terminal.

    Within another one, nothing is shown.

    Parameters
    ----------
    description : str
        What is being done, in two or three words.
    total : int
        How many steps there are.
    unit : str, optional
        What a step is, in the plural.

    Yields
    ------
    callable
        To be called with the number of steps done since the last call.
    """
    if total <= 0 or _SHOWN.get() or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    )
    token = _SHOWN.set(True)
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total, rate=unit)

            def advance(steps: int) -> None:
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
                bar.update(task, advance=steps, rate=f"{speed:.0f} {unit}/s" if speed else unit)

            yield advance
    finally:
        _SHOWN.reset(token)
