"""What was found out once about engines on this machine, so that it is not measured again."""

import hashlib
import json
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo.cache.folders import cache_folder, writing

__all__ = ["digest_of", "recall", "remember", "versions"]


def digest_of(subject: dict[str, Any]) -> str:
    """Return 24 hexadecimal digits that are equal for equal subjects."""
    return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()[:24]


def recall(subject: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was remembered of a subject.

    Parameters
    ----------
    subject : dict
        Everything the finding depends on, of JSON's types.

    Returns
    -------
    dict or None
        None where there is no note, or an unreadable one.
    """
    try:
        note = json.loads(_place(subject).read_text(encoding="utf-8"))
        finding = note["finding"] if note["subject"] == subject else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # None, or damaged: it is found out again.
    return finding if isinstance(finding, dict) else None


def remember(subject: dict[str, Any], finding: dict[str, Any]) -> None:
    """Write a finding down, whole or not at all.

    Parameters
    ----------
    subject : dict
        Everything the finding depends on, of JSON's types.
    finding : dict
        What shall be recalled.
    """
    place = _place(subject)
    with writing(place):
        handle, temporary = tempfile.mkstemp(prefix=f".{place.stem}-", suffix=".tmp", dir=place.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"subject": subject, "finding": finding}, file, indent=1)
        os.replace(temporary, place)


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _place(subject: dict[str, Any]) -> Path:
    return cache_folder("engines") / f"{digest_of(subject)}.json"
