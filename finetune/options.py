"""What a user may set of a method: declared once, and everything else is derived from it.

A method's ``Options`` is a pydantic model. Its fields hold the default, the bounds and the help text; the
flags of the command line, the check of what was given, the recorded command and the table in the docs
come from them.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from finetune.errors import OptionError
from finetune.space import Space

__all__ = ["FeatureOptions", "Options", "as_words", "choices", "flag", "make_options", "option"]

OptionsT = TypeVar("OptionsT", bound="Options")


class Options(BaseModel):
    """What a user may set; a method without settings uses this class itself."""

    # Validators are built when a method is first made: help needs only the fields.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of every option, by name."""
        return {name: field.default for name, field in cls.model_fields.items()}

    @classmethod
    def search_space(cls, given: Mapping[str, Any]) -> Space:
        """Return the ranges that a search draws from, by option.

        Parameters
        ----------
        given : mapping
            Options that the user set.
        """
        return {}


def option(default: Any, help: str, *, group: str = "", **bounds: Any) -> Any:
    """Declare one option: a field of an :class:`Options` class.

    Parameters
    ----------
    default : object
        None where the value is chosen by cross-validation or by the size of the data; the help says so.
    help : str
        One or two sentences, for ``--help`` and the docs.
    group : str, optional
        Heading under which ``--help`` lists it.
    **bounds
        ``gt``, ``ge``, ``lt``, ``le``, ``min_length`` as for :func:`pydantic.Field`.
    """
    return Field(default, description=help, json_schema_extra={"group": group}, **bounds)


class FeatureOptions(Options):
    """What may be set of a method that reads the last features alone, or those of all stages beside them."""

    features: Literal["auto", "last", "stages"] = option(
        "auto",
        "Features of the network: its last ones, or the average and maximum of every stage beside them;"
        " auto takes stages where their cross-validated log loss is lower by more than a standard error.",
    )


def make_options(method: str, kind: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Check what a user set, and fill in the defaults.

    Parameters
    ----------
    method : str
        The method's name, for messages.
    kind : type
        Its ``Options``.
    values : mapping
        By option; ``None`` is what the user left alone.

    Returns
    -------
    Options

    Raises
    ------
    OptionError
        Naming every fault: options that the method does not have, values out of range or of the wrong
        kind, combinations that make no sense.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        faults = [_fault(method, kind, fault) for fault in error.errors()]
    next_steps = list(dict.fromkeys(step for _, step in faults))
    raise OptionError(" ".join(problem for problem, _ in faults), " ".join(next_steps))


def flag(name: str) -> str:
    """Return the command line's word for an option."""
    return f"--{name.replace('_', '-')}"


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Return options as the words of a command line that sets them; ``None`` is left out."""
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else flag(f"no_{name}"))
        elif isinstance(value, (list, tuple)):
            words += [flag(name), *map(str, value)] if value else []
        elif value is not None:
            words += [flag(name), str(value)]
    return words


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the words that an option may be, or nothing where it is no choice among words."""
    kinds = [field.annotation]
    if get_origin(field.annotation) in (Union, types.UnionType):
        kinds = list(get_args(field.annotation))
    return tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


def _fault(method: str, kind: type[Options], fault: Any) -> tuple[str, str]:
    """Return one of pydantic's findings as a problem and a next step."""
    if not fault["loc"]:  # raised by a validator of the whole model, as problem | next step
        problem, _, step = str(fault["ctx"]["error"]).partition(" | ")
        return problem, step
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, kind.model_fields, 1)
        hint = f", or set {flag(near[0])}" if near else ""
        return f"{method} has no option {flag(name)}.", f"Leave out {flag(name)}{hint}."
    if known := choices(kind.model_fields[name]):
        step = f"Choose one of {', '.join(known)} for {flag(name)}."
        return f"{flag(name)} is {fault['input']!r}, which does not exist.", step
    should = fault["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return (
        f"{flag(name)} is {_shown(fault['input'])}, which is out of range.",
        f"Give {flag(name)} a value that is {should}.",
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
