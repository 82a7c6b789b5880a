"""The commands, run in this process as a shell would run them."""

import contextlib
import io
import json
from dataclasses import dataclass

__all__ = ["Done", "call"]


@dataclass(frozen=True)
class Done:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def call(main, *arguments):
    """Run a command; its standard output takes UTF-8 only, as most terminals and pipes do.

    Parameters
    ----------
    main : callable
        ``main`` of ``zoo.cli.app`` or of ``finetune.cli.app``.
    *arguments
        The words after the command's name.

    Returns
    -------
    Done
        Whatever was raised beyond what the command itself reports, is raised here.
    """
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Done(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())
