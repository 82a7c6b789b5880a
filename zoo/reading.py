"""JSON that somebody else may have written, or damaged."""

import json
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json"]


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not JSON or not UTF-8, or nested so deeply that Python gives up.
    """
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """Return what a JSON text says; raises ValueError for all that is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
