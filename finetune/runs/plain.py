"""From what programs hold to what JSON can hold."""

import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["PlainModel", "finite", "plain"]


def plain(value: Any) -> Any:
    """Turn NumPy numbers and arrays, paths, and text that isn't valid Unicode into what JSON can hold.

    Parameters
    ----------
    value
        Anything; also lists, tuples, mappings and dataclasses of such things.

    Returns
    -------
    The same in Python's own types. What needs no change comes back as it is.
    """
    if isinstance(value, str):
        # A file name that isn't UTF-8 reaches Python with lone surrogates, which no UTF-8 file can hold.
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, os.PathLike):
        return plain(os.fspath(value))
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value.tolist() if hasattr(value, "tolist") else value


def finite(value: Any) -> Any:
    """Replace numbers that JSON lacks by None.

    Parameters
    ----------
    value
        What `plain` returned.

    Returns
    -------
    The same without NaN and infinities.
    """
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


class PlainModel(BaseModel):
    """What all parts of ``run.json`` share: frozen, no unknown keys, no NaN.

    NumPy numbers and paths may be given and become plain.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _take_plain_values(cls, values: Any) -> Any:
        return {key: plain(value) for key, value in values.items()} if isinstance(values, dict) else values
