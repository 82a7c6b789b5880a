"""Files and folders that are written whole or not at all.

What is written goes to a hidden sibling first, which is renamed when it is complete. A reader of the
final name finds the old content or the new, never half of it, even if the process is killed.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TEMPORARY", "atomic_file", "atomic_folder", "names", "put_in_place", "sibling", "write_text"]

#: How the name of what is being written ends; it begins with a dot.
TEMPORARY = ".tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write a file to; it takes its place at the end of the block.

    Parameters
    ----------
    path : Path
        The file's final place, in an existing folder. What stands there is replaced.

    Yields
    ------
    Path
        A hidden sibling of `path` that does not exist yet. It is removed if the block raises.

    Raises
    ------
    OSError
        If it cannot be written or renamed.
    """
    temporary = sibling(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(
                file.fileno()
            )  # On the disk before it has its name, so that a power cut cannot empty it.
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty temporary folder to fill; it takes its place at the end of the block.

    Parameters
    ----------
    path : Path
        The folder's final place, in an existing folder.
    replace : bool, optional
        Remove a folder that stands there; by default that is an error unless it is empty. If the new one
        cannot be put in its place, the old one stays.

    Yields
    ------
    Path
        A hidden sibling of `path`. It is removed if the block raises.

    Raises
    ------
    OSError
        If it cannot be written or renamed, or something stands at `path` that is not to be replaced.
    """
    temporary = sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        if replace:
            put_in_place(temporary, path)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(made: Path, path: Path) -> None:
    """Rename a folder to `path`; what stands there is removed, and stays if the renaming fails.

    On Linux the two change places in one step, so that the old one or the new one is there at every moment.
    Elsewhere, and on disks that cannot do that, the old one is moved aside first.
    """
    if not path.exists():
        made.rename(path)
        return
    if _exchange(made, path):
        shutil.rmtree(made, ignore_errors=True)
        return
    old = sibling(path)
    path.rename(old)
    try:
        made.rename(path)
    except BaseException:  # Ctrl-C too must not leave the place empty
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names at once; returns whether the system could (Linux 3.15, glibc 2.28)."""
    if sys.platform != "linux":
        return False
    import ctypes

    at_working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, there = os.fsencode(one), os.fsencode(other)
    return rename is not None and rename(at_working_folder, here, at_working_folder, there, exchange) == 0


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; errors as for :func:`atomic_file`."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def names(folder: Path) -> set[str]:
    """Return what lies in a folder, but for what a process that was killed had not finished writing."""
    return {
        entry.name
        for entry in folder.iterdir()
        if not (entry.name.startswith(".") and entry.name.endswith(TEMPORARY))
    }


def sibling(path: Path) -> Path:
    """Return a hidden name on the same disk, unlike any other process's, short enough for any file system."""
    # Not tempfile's: those are private to their owner, and caches and runs are often shared.
    return path.with_name(f".{path.name[:50]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
