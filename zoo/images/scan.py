"""Which files lie below a folder: in a stable order, without system files, each folder once."""

import difflib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import DataError

__all__ = ["Scan", "as_text", "is_system_file", "missing_path", "natural_key", "scan"]

# What operating systems, archives and notebooks leave behind. Hidden names are recognised by their dot.
_SYSTEM_FILES = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Scan:
    """What is below a folder.

    `files` are all regular files (and dangling links, which opening will report) in natural order, `ignored`
    is how many entries were skipped: system files, and what is neither file nor folder. A folder counts once.
    """

    files: tuple[Path, ...]
    ignored: int


def scan(folder: str | os.PathLike[str]) -> Scan:
    """List every file below a folder, following symbolic links.

    Parameters
    ----------
    folder : path
        An existing folder.

    Returns
    -------
    Scan
        Paths begin with `folder` as it was given. A folder that is reached by several ways is
        listed once.

    Raises
    ------
    DataError
        If `folder` is missing or no folder, or a folder below it cannot be read.
    """
    root = Path(folder)
    files: list[Path] = []
    ignored = 0
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        here = waiting.pop()
        identity = os.stat(here) if here != root else _stat_root(root)
        if (identity.st_dev, identity.st_ino) in seen:
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders = []
        for entry in _entries(here):
            kind = None if is_system_file(entry.name) else _kind(entry)
            if kind == "folder":
                folders.append(here / entry.name)
            elif kind == "file":
                files.append(here / entry.name)
            else:
                ignored += 1
        waiting += reversed(folders)
    return Scan(tuple(_in_order(files)), ignored)


def is_system_file(name: str) -> bool:
    """Whether a file or folder of this name is never data: hidden, or left behind by a program."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FILES


def as_text(name: str) -> str:
    """Return a file's or folder's name as text that every file can hold.

    A name may be bytes that are no UTF-8: each of these is written like ``\\xe9``. Others stay as they are.

    >>> as_text("caf\\udce9")
    'caf\\\\xe9'
    """
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that puts ``2`` before ``10`` and pays no heed to case.

    Parameters
    ----------
    name : str
        A file's or folder's name.

    Returns
    -------
    tuple
        To be used as ``sorted(names, key=natural_key)``.

    Examples
    --------
    >>> sorted(["b10", "B2", "a"], key=natural_key)
    ['a', 'B2', 'b10']
    """
    pieces = re.split(r"([0-9]+)", name.casefold())
    # Pieces alternate between text and number, so that each is compared with its like.
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)], name


def missing_path(path: str | os.PathLike[str]) -> DataError:
    """Make the error for a path that doesn't exist, with the nearest name that does."""
    wanted = Path(path)
    while not wanted.parent.exists():
        wanted = wanted.parent
    try:
        siblings = {name.casefold(): name for name in sorted(os.listdir(wanted.parent))}
    except OSError:
        siblings = {}
    near = difflib.get_close_matches(wanted.name.casefold(), siblings, n=1)
    guess = f"Did you mean {wanted.parent / siblings[near[0]]}?" if near else "Check the path."
    return DataError(f"There is no {path}.", guess)


def _in_order(files: list[Path]) -> list[Path]:
    """Sort in natural order, part by part; files of one folder share its key, for keys are large."""
    folders: dict[str, tuple[tuple[list[tuple[int, str]], str], ...]] = {}

    def key(path: Path) -> tuple[tuple[list[tuple[int, str]], str], ...]:
        folder = os.path.dirname(path)
        if folder not in folders:
            folders[folder] = tuple(natural_key(part) for part in path.parts[:-1])
        return (*folders[folder], natural_key(path.name))

    return sorted(files, key=key)


def _stat_root(root: Path) -> os.stat_result:
    try:
        result = os.stat(root)
    except (FileNotFoundError, NotADirectoryError):
        raise missing_path(root) from None
    except OSError as error:
        raise _unreadable(root, error) from error
    if not stat.S_ISDIR(result.st_mode):
        raise DataError(f"{root} is a file, not a folder.", f"Give the folder it is in, {root.parent}.")
    return result


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"Cannot read the folder {folder}: {error.strerror or error}.",
        f'Make it readable (chmod u+rx "{folder}") or move it away.',
    )


def _kind(entry: os.DirEntry[str]) -> str | None:
    """``folder``, ``file``, or None for pipes, sockets and devices; links count as what they lead to."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        # A dangling link was meant to be a file, so that opening it reports that it is missing.
        return "file" if entry.is_symlink() and not os.path.exists(entry.path) else None
    except OSError:  # a link that leads to itself
        return "file"
