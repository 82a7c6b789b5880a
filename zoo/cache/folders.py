"""Where the project keeps what it need not fetch or compute twice."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import ZooError

__all__ = ["CacheError", "cache_folder", "cache_root", "locked", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class CacheError(ZooError):
    """A cache folder that cannot be used as it is."""


def cache_root() -> Path:
    """Return the cache folder, whether or not it exists.

    Returns
    -------
    Path
        ``$ZOO_CACHE`` where that is set, else the operating system's own place for caches (on Linux
        ``~/.cache/finetune-zoo``).
    """
    root = os.environ.get("ZOO_CACHE")
    if root:
        return Path(root).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("finetune-zoo", appauthor=False))


def cache_folder(*parts: str) -> Path:
    """Return (and create) a folder below :func:`cache_root`.

    Parameters
    ----------
    *parts : str
        Names of nested folders below the root.

    Returns
    -------
    Path
        An existing folder.

    Raises
    ------
    CacheError
        If it cannot be created.
    """
    folder = cache_root().joinpath(*parts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Say what a user can do where writing to the cache fails.

    Parameters
    ----------
    place : Path
        The file or folder that is written in the block.

    Raises
    ------
    CacheError
        Instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        elsewhere = "set ZOO_CACHE to a folder"
        if error.errno in _FULL:
            raise CacheError(
                f"The disk is full: {place} cannot be written.",
                f"Free some space (`zoo cache clear` removes what can be computed again), or {elsewhere} "
                "on another disk.",
            ) from error
        reason = "this may not be written to" if error.errno in _FORBIDDEN else error.strerror or str(error)
        raise CacheError(
            f"The cache folder cannot be used: {place}: {reason}.",
            f"Make it a folder that you may write to, or {elsewhere} that is.",
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block.

    Parameters
    ----------
    path : Path
        The lock, a file that is made where it is not there.

    Raises
    ------
    CacheError
        If it cannot be made.
    """
    from filelock import FileLock

    with writing(path):
        held = FileLock(path).acquire()
    with held:
        yield
