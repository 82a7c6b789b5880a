"""The ``zoo`` command: one module of this room for each of its commands.

A command parses, calls the library, and prints. Heavy imports stand inside the functions, so that ``zoo
--help`` answers at once.
"""

from collections.abc import Callable, Sequence

from cyclopts import App

from zoo.cli import cache, extract, list, pull, show, verify
from zoo.cli.console import EPILOGUE, epilogue, run

__all__ = ["app", "main"]

app = App(
    name="zoo",
    help="Networks pretrained on ImageNet: list and download them, and compute their features of images.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
)
_COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "list": (list.list_models, list.EXAMPLES),
    "show": (show.show, show.EXAMPLES),
    "pull": (pull.pull, pull.EXAMPLES),
    "verify": (verify.verify, verify.EXAMPLES),
    "extract": (extract.extract, extract.EXAMPLES),
}
for _name, (_function, _examples) in _COMMANDS.items():
    app.command(_function, name=_name, help_epilogue=epilogue(*_examples))
app.command(cache.app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``zoo`` with arguments, by default those of this process; return the exit code."""
    return run(app, argv)
