"""Small results stored for the next run, such as a file's digest or the fastest engine."""

import hashlib
import json
from pathlib import Path
from typing import Any

from zoo.cache.folders import cache_errors, cache_folder
from zoo.reading import read_json
from zoo.writing import write_text

__all__ = ["digest_of", "recall", "remember"]


def digest_of(subject: dict[str, Any]) -> str:
    """Return 24 hexadecimal digits that are equal for equal subjects."""
    return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()[:24]


def recall(subject: dict[str, Any], kind: str = "notes") -> dict[str, Any] | None:
    """Return what was remembered of a subject: everything that a finding depends on, of JSON's types.

    None if there is no note, or a damaged one. Notes are of the kind ``notes``, or ``models`` if they have to
    stay as long as these.
    """
    try:
        note = read_json(_place(subject, kind))
        finding = note["finding"] if note["subject"] == subject else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return finding if isinstance(finding, dict) else None


def remember(subject: dict[str, Any], finding: dict[str, Any], kind: str = "notes") -> None:
    """Write a finding down; parameters as for :func:`recall`."""
    place = _place(subject, kind)
    with cache_errors(place):
        write_text(place, json.dumps({"subject": subject, "finding": finding}, indent=1))


def _place(subject: dict[str, Any], kind: str) -> Path:
    return cache_folder(kind) / f"{digest_of(subject)}.json"
