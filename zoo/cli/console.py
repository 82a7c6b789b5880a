"""What both command lines share: how one is run, how it fails, and how it prints.

Results go to standard output; progress, warnings and errors go to standard error.
"""

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError

if TYPE_CHECKING:
    from cyclopts import App
    from rich.console import Console

__all__ = ["EPILOGUE", "epilogue", "print_json", "print_line", "run", "stdout"]

#: For the end of a program's help: the option that `run` adds to those of the commands.
EPILOGUE = "Every command takes --debug, which shows where an error came from."

_OK, _FAILED, _INTERRUPTED = 0, 2, 130


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
        interrupted from the keyboard.
    """
    from cyclopts import CycloptsError

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    # A library's log message is one line for a person, not a log record.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # Images that are too large are refused by our own error; Pillow's warning adds nothing.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit", append=True)
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
    return code if isinstance(code, int) else _OK


def stdout() -> "Console":
    """Return rich's console on standard output, which does not cut tables short in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def print_line(line: str) -> None:
    """Print a line on standard error: what a library function is given as `log`."""
    print(line, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_error(program: str, error: Exception) -> None:
    if isinstance(error, ZooError):
        text = f"{error.problem.rstrip()}\n{error.next_step}"
    else:
        text = f"{str(error).strip()}\nSee `{program} --help`."
    print(f"{program}: {text}", file=sys.stderr)
