"""What is trained: one module a strategy, one contract.

A strategy's module has ``Options``, a frozen dataclass of what a user may set, and
``fit(task, backbone, options)``, which learns from a :class:`finetune.task.Task` and gives back a
:class:`finetune.task.Trained`. On the command line it goes by its module's name with hyphens.
"""

import dataclasses
import difflib
from importlib import import_module
from types import ModuleType
from typing import Any

from finetune.errors import OptionError

__all__ = ["STRATEGIES", "load_strategy", "make_options"]

STRATEGIES = ("probe",)


def load_strategy(name: str) -> ModuleType:
    """Import a strategy's module.

    Raises
    ------
    OptionError
        If there is no such strategy.
    """
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise OptionError(f"There is no strategy {name!r}.", f"{hint}Choose one of: {', '.join(STRATEGIES)}.")
    return import_module(f"finetune.strategies.{name.replace('-', '_')}")


def make_options(strategy: ModuleType, values: dict[str, Any]) -> Any:
    """Make a strategy's options of what the user set.

    Parameters
    ----------
    strategy : module
        From :func:`load_strategy`.
    values : dict
        By name; ``None`` is what the user left alone.

    Raises
    ------
    OptionError
        If the strategy has no such option: better said than silently ignored.
    """
    known = {option.name for option in dataclasses.fields(strategy.Options)}
    given = {name: value for name, value in values.items() if value is not None}
    name = strategy.__name__.rpartition(".")[2].replace("_", "-")
    if unknown := sorted(set(given) - known):
        flags = ", ".join(f"--{option.replace('_', '-')}" for option in unknown)
        raise OptionError(f"The strategy {name} has no option {flags}.", "Leave it out.")
    return strategy.Options(**given)
