"""Which images a user means: files, folders, patterns, and a list on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from zoo.errors import DataError

__all__ = ["STANDARD_INPUT", "image_paths"]

#: The word that stands for a list of paths on standard input.
STANDARD_INPUT = "-"

_PATTERN = frozenset("*?[")


def image_paths(words: Sequence[str | os.PathLike[str]], stdin: TextIO | None = None) -> list[Path]:
    """Return the files that some words name, in the order of the words.

    Parameters
    ----------
    words : sequence of str or path
        Files; folders, for all files below them; patterns with ``*``, ``?``, ``[...]`` or ``**``, for what
        matches them, in natural order; and ``-`` for paths on standard input, one a line or divided by null
        characters (``find -print0``).
    stdin : text file, optional
        By default this process's standard input.

    Returns
    -------
    list of Path
        A word that names nothing stands for itself: reading it says what is wrong.

    Raises
    ------
    DataError
        If a pattern matches nothing, a folder is unreadable, or no file is named at all.
    """
    paths: list[Path] = []
    for word in [os.fspath(word) for word in words]:
        given = _lines(sys.stdin if stdin is None else stdin) if word == STANDARD_INPUT else [word]
        for name in given:
            paths += _named(name)
    if not paths:
        raise DataError("There are no images there.", "Give image files, or folders that hold some.")
    return paths


def _lines(file: TextIO) -> list[str]:
    text = file.read()
    return [line for line in (text.split("\0") if "\0" in text else text.splitlines()) if line.strip()]


def _named(word: str) -> list[Path]:
    from zoo.images.scan import natural_key, scan

    path = Path(word)
    if path.is_dir():
        return list(scan(path).files)
    if not _PATTERN & set(word) or os.path.lexists(path):  # a name may have a bracket in it
        return [path]
    import glob

    matches = sorted(glob.glob(word, recursive=True), key=natural_key)
    if not matches:
        raise DataError(f"Nothing matches {word}.", "Check the pattern: ** stands for folders of any depth.")
    return [file for match in matches for file in _of_a_match(Path(match))]


def _of_a_match(path: Path) -> list[Path]:
    from zoo.images.scan import scan

    return list(scan(path).files) if path.is_dir() else [path]
