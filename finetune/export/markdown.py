"""Texts of the user in a Markdown page: shown as they are, and without places on the user's machine."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

__all__ = ["escape", "last_name", "table", "without_paths"]

# Such as /home/me/photos, ~/photos or C:\photos; a slash within words, as in and/or, is none.
_PATH = re.compile(r"(?<![\w./\\])(?:~|\.\.?|[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|]+[/\\])*([^\s/\\'\"<>|]+)")


def escape(text: str) -> str:
    """Return a text on one line in which nothing is a mark of Markdown or HTML."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", line)
    # What is a mark at the beginning of a line only: headings, lists.
    return re.sub(r"^(\d+)([.)](?=\s|$))|^(?=[#+-])", r"\1\\\2", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; the cells are escaped already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def without_paths(text: str, *known: str) -> str:
    """Return a text in which of every path of this machine only the last name is left.

    Parameters
    ----------
    text : str
    *known : str
        Paths that may hold blanks, by which no pattern finds them.
    """
    home = str(Path.home())
    for path in sorted((*known, home), key=len, reverse=True):
        if len(path) > 1 and ("/" in path or "\\" in path):
            text = text.replace(path, last_name(path))
    return _PATH.sub(r"\1", text)


def last_name(path: str) -> str:
    """Return the last name of a path of any operating system."""
    kind = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).name
