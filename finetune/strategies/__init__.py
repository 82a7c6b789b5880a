"""What is trained: one module a strategy, one contract.

A strategy's module has ``Options``, a frozen dataclass of what a user may set, and
``fit(task, backbone, options)``, which learns from a :class:`finetune.method.Task` and gives back a
:class:`finetune.method.Trained`. It may have ``cross_validate(task, nested, options)`` for
``finetune compare``; without it, each outer fold costs a fit. On the command
line it goes by its module's name with hyphens.
"""

import dataclasses
from types import ModuleType
from typing import Any

from finetune.errors import OptionError

__all__ = ["STRATEGIES", "make_options"]

STRATEGIES = ("probe", "last-layers", "full")


def make_options(strategy: ModuleType, values: dict[str, Any]) -> Any:
    """Make a strategy's options of what the user set.

    Parameters
    ----------
    strategy : module
        A strategy's or a baseline's; see :func:`finetune.methods.load_method`.
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
        raise OptionError(f"{name} has no option {flags}.", "Leave it out.")
    return strategy.Options(**given)
