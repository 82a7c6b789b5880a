"""What both command lines share: how one is run, how it fails, and how it prints.

Results go to standard output; progress, warnings and errors go to standard error.
"""

import io
import logging
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError

if TYPE_CHECKING:
    from cyclopts import App
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "EPILOGUE",
    "epilogue",
    "escape",
    "print_json",
    "print_line",
    "printable",
    "ranking",
    "run",
    "stdout",
]

#: For the end of a program's help: the option that `run` adds to those of the commands.
EPILOGUE = "Every command takes --debug, which shows where an error came from."

_OK, _FAILED, _INTERRUPTED = 0, 2, 130

#: Signals that end a process as Ctrl-C does, with what is unfinished removed: of a job scheduler, of a system
#: that shuts down, of a terminal that is closed.
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def epilogue(*examples: str) -> str:
    """Return the end of a command's help: whole command lines, then what holds for every command."""
    return "\n  ".join(("Examples:", *examples)) + f"\n\n{EPILOGUE}"


def run(app: "App", argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Parameters
    ----------
    app : cyclopts.App
        The program.
    argv : sequence of str, optional
        Its arguments; by default those of this process.

    Returns
    -------
    int
        0 if all went well (or what the command returned), 2 for anything the user can fix, 130 when
        interrupted from the keyboard, 143 (128 and the signal's number) when ended by SIGTERM.
    """
    with _ended_by_signals() as received:
        code = _run(app, argv)
        return 128 + received[0] if received and code == _INTERRUPTED else code


def _run(app: "App", argv: Sequence[str] | None) -> int:
    from cyclopts import CycloptsError

    _print_whatever_names()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    # A library's log message is one line for a person, not a log record.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # What is wrong with an image our own error says, or nothing if it could be read all the same.
    warnings.filterwarnings("ignore", module=r"PIL\.", append=True)
    app.suppress_keyboard_interrupt = False  # Handled below, alike for both programs.
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (ZooError, CycloptsError) as error:
        if debug:
            raise
        _print_error(app.name[0], error)
        return _FAILED
    except KeyboardInterrupt as stopped:
        # The message may give how much was done.
        print(f"\nInterrupted. {stopped}".rstrip(), file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) was closed.
        sys.stderr.close()
        return _OK
    except OSError as error:
        # A full disk, a broken one, a folder that was taken away: whatever has no message of its own.
        if debug:
            raise
        _print_error(app.name[0], _of_the_system(error))
        return _FAILED
    return code if isinstance(code, int) else _OK


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """Treat signals that end a process like Ctrl-C within; gives the list of those that came."""
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    # One that is ignored, as under nohup, stays so.
    before = {number: signal.getsignal(number) for number in _ENDING}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _of_the_system(error: OSError) -> ZooError:
    place = f"{error.filename}: " if error.filename else ""
    return ZooError(
        f"The operating system refused something: {place}{error.strerror or error}.",
        "Check that the disk has space and that the place may be written to, then run the command again.",
    )


def stdout() -> "Console":
    """Return rich's console on standard output, which does not cut tables short in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, emoji=False)


def print_line(line: str) -> None:
    """Print a line on standard error: what a library function is given as `log`."""
    print(printable(line), file=sys.stderr)


def printable(text: str) -> str:
    """Return a text without control characters: in a file's name, they could act on the terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def escape(text: str) -> str:
    """Return a text for rich to print as it is, without control characters."""
    from rich.markup import escape

    return escape(printable(text))


def ranking(headings: Sequence[str]) -> "Table":
    """Return an empty table of names, numbers and a remark."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i in (0, len(headings) - 1) else "right", no_wrap=True)
    return table


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_error(program: str, error: Exception) -> None:
    if isinstance(error, ZooError):
        text = f"{error.problem.rstrip()}\n{error.next_step}"
    else:
        text = f"{str(error).strip()}\nSee `{program} --help`."
    print(f"{program}: {printable(text)}", file=sys.stderr)


def _print_whatever_names() -> None:
    """Let standard output take names that its encoding lacks, as standard error does: escaped.

    A file's name may be bytes that are no UTF-8; in JSON, ``\\udce9`` is how Python reads it back.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
