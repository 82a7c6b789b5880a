"""Folders of the cache that somebody uses, and the removal of those that nobody does.

Whoever uses a folder holds a shared lock on the folder itself; whoever wants to remove it must get the
exclusive one. The operating system gives a lock back when its process ends, however it ends.
Where there are no such locks (Windows, some network disks), what was used within a day counts as in use.
"""

import os
import shutil
import stat
import tempfile
import time
import weakref
from pathlib import Path

from zoo.cache.folders import writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DAY", "TEMPORARY", "Hold", "remove_unused"]

#: Seconds after which what a killed process left behind is nobody's.
DAY = 24 * 3600.0

#: How the name ends of what is being written or removed.
TEMPORARY = ".tmp"


class Hold:
    """A folder that nobody removes while this object lives.

    Its time of modification becomes the present: that is how one sees when it was last of use.

    Parameters
    ----------
    folder : Path
        The folder.
    create : bool, optional
        Make it where it is not there.

    Raises
    ------
    FileNotFoundError
        If it is not there and is not to be made.
    CacheError
        If it cannot be made.
    """

    def __init__(self, folder: Path, create: bool = False) -> None:
        self.folder = folder
        while True:
            if create:
                _make(folder)
            try:
                _lock(self, folder)
                os.utime(folder)
            except FileNotFoundError:
                if not create:
                    raise
                continue  # Removed between these lines.
            except OSError:
                pass  # A cache that one may only read is still of use.
            return


def _make(folder: Path) -> None:
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            # Also raised where it was there and is removed just now: then it is made on the next try.
            if os.path.lexists(folder) and not folder.is_dir():
                raise


def _lock(owner: Hold, folder: Path) -> None:
    """Lock a folder for as long as its owner lives."""
    if fcntl is None:
        return
    handle = os.open(folder, os.O_RDONLY)
    weakref.finalize(owner, os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:
        return  # A disk without locks.
    if not _still(handle, folder):
        raise FileNotFoundError(folder)


def remove_unused(path: Path) -> bool:
    """Remove a folder or file of the cache, unless it is in use; a link is never followed.

    Parameters
    ----------
    path : Path
        The folder or file. A file counts as unused.

    Returns
    -------
    bool
        Whether it is gone.
    """
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            return _remove_folder(path)
        path.unlink()
    except OSError:
        return not os.path.lexists(path)
    return True


def _remove_folder(folder: Path) -> bool:
    if fcntl is None:
        return _old(folder) and _remove_whole(folder)
    handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A disk without locks.
        return _old(folder) and _remove_whole(folder)
    else:
        # Somebody else may have removed it meanwhile, and a third made it anew.
        return _still(handle, folder) and _remove_whole(folder)
    finally:
        os.close(handle)


def _still(handle: int, folder: Path) -> bool:
    """Whether an open folder is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except FileNotFoundError:
        return False


def _old(folder: Path) -> bool:
    return time.time() - folder.stat().st_mtime > DAY


def _remove_whole(folder: Path) -> bool:
    """Rename a folder first, so that nobody ever finds half of it."""
    aside = Path(tempfile.mkdtemp(prefix=".removed-", suffix=TEMPORARY, dir=folder.parent))
    try:
        folder.rename(aside / folder.name)
        return True
    finally:
        shutil.rmtree(aside, ignore_errors=True)
