"""Folders of the cache that a process uses, and removing those that no process uses.

A lease is a shared lock on the folder itself; removing needs the exclusive one. The operating system releases
a lock when its process ends, however it ends. Where there are no such locks (Windows, some network disks),
what was used within a day counts as in use.
"""

import os
import shutil
import stat
import time
import weakref
from contextlib import suppress
from pathlib import Path

from zoo.cache.folders import cache_errors
from zoo.writing import sibling

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DAY", "Lease", "remove_unused"]

#: Seconds after which what a killed process left behind may be removed.
DAY = 24 * 3600.0


class Lease:
    """Keeps a folder from being removed while this object lives.

    The folder's modification time is set to now: that is how the time of its last use is known.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist and `create` is false.
    CacheError
        If it cannot be made.
    """

    def __init__(self, folder: Path, create: bool = False) -> None:
        self.folder = folder
        while True:
            if create:
                with cache_errors(folder), suppress(FileExistsError):
                    folder.mkdir()
            try:
                self._lock()
                os.utime(folder)
            except FileNotFoundError:
                if not create:
                    raise
                continue  # Removed since it was made.
            except OSError:
                pass  # A cache that can only be read is still useful.
            return

    def _lock(self) -> None:
        if fcntl is None:
            return
        handle = os.open(self.folder, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
        except OSError:
            return  # A disk without locks.
        if not _is_still(handle, self.folder):
            raise FileNotFoundError(self.folder)


def remove_unused(path: Path) -> bool:
    """Remove a folder or file of the cache unless a process uses it; return whether it is gone.

    A file counts as unused; a link is removed, not followed.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return True
        handle = os.open(path, os.O_RDONLY) if fcntl else None
        try:
            return _may_go(handle, path) and _remove(path)
        finally:
            if handle is not None:
                os.close(handle)
    except OSError:
        return not os.path.lexists(path)


def _may_go(handle: int | None, folder: Path) -> bool:
    if handle is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _is_still(handle, folder)
        except BlockingIOError:
            return False
        except OSError:
            pass  # A disk without locks.
    return time.time() - folder.stat().st_mtime > DAY


def _is_still(handle: int, folder: Path) -> bool:
    """Whether an open folder is still the one that has this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> bool:
    """Rename a folder first, so that no process finds half of it."""
    aside = sibling(folder)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return True
