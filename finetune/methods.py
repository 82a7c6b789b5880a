"""Everything that can be fitted and compared, by name: strategies, baselines and floors."""

import difflib
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from finetune.baselines import BASELINES, FLOORS
from finetune.errors import OptionError
from finetune.strategies import STRATEGIES

__all__ = ["METHODS", "check_methods", "load_method", "needs_backbone"]

METHODS = (*FLOORS[::-1], *BASELINES, *STRATEGIES)


def check_methods(names: Sequence[str], known: tuple[str, ...] = METHODS) -> None:
    """Make sure that methods exist.

    Parameters
    ----------
    names : sequence of str
        As on the command line.
    known : tuple of str, optional
        Those that may be named.

    Raises
    ------
    OptionError
        Naming the first that does not, and what it may have been meant to be.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise OptionError(f"There is no method {name!r}.", f"{hint}Choose among: {', '.join(known)}.")


def load_method(name: str) -> ModuleType:
    """Import a method's module; raises as :func:`check_methods` does."""
    check_methods([name])
    room = "strategies" if name in STRATEGIES else "baselines"
    return import_module(f"finetune.{room}.{name.replace('-', '_')}")


def needs_backbone(method: ModuleType) -> bool:
    """Return whether a method works on a network's features, and not on pixels."""
    return getattr(method, "SPACE", "features") != "pixels"
