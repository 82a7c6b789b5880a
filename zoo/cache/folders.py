"""The folder in which downloads and computed results are kept for the next run.

It is ``$ZOO_CACHE``, and in it a subfolder of our own, with a mark: only below a marked subfolder is anything
ever removed, so that ``ZOO_CACHE`` may name a folder that holds other things.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import ZooError
from zoo.writing import atomic_folder

__all__ = ["CacheError", "cache_errors", "cache_folder", "cache_root", "is_marked", "locked"]

#: Raise the number when the layout below it changes.
SUBFOLDER = "finetune-zoo-v1"

_MARK = "CACHEDIR.TAG"  # Backup programs skip a folder with this file: https://bford.info/cachedir/
_MARK_TEXT = """\
Signature: 8a477f597d28d172789f06886806bc55
# This folder is the cache of finetune-zoo, which removes files from it.
"""

_SET = "Set the environment variable ZOO_CACHE to a folder for it."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class CacheError(ZooError):
    """A cache folder or setting that cannot be used."""


def cache_root() -> Path:
    """Return the cache folder, whether or not it exists.

    Returns
    -------
    Path
        The subfolder ``finetune-zoo-v1`` of ``$ZOO_CACHE``, or of the operating system's folder for caches
        (on Linux ``~/.cache/finetune-zoo``).

    Raises
    ------
    CacheError
        If there is no home folder.
    """
    chosen = os.environ.get("ZOO_CACHE")
    try:
        if chosen:
            return Path(chosen).expanduser() / SUBFOLDER
        import platformdirs

        found = Path(platformdirs.user_cache_dir("finetune-zoo", appauthor=False))
    except RuntimeError as error:  # ~somebody, whom the system does not know
        raise CacheError(f"The cache folder cannot be found: {error}", _SET) from error
    if not found.is_absolute():  # ~ stays as it is where a user has no home, as in some containers
        raise CacheError("This user has no home folder, in which the cache would be.", _SET)
    return found / SUBFOLDER


def cache_folder(kind: str) -> Path:
    """Return (and create) the folder of the cache for one kind of things, such as ``features``.

    Raises
    ------
    CacheError
        If it cannot be created, or something else has its name.
    """
    root = cache_root()
    with cache_errors(root):
        if not is_marked(root):
            root.parent.mkdir(parents=True, exist_ok=True)
            _make(root)
        (root / kind).mkdir(exist_ok=True)
    return root / kind


def _make(root: Path) -> None:
    try:
        with atomic_folder(root) as made:
            (made / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
    except OSError:
        if is_marked(root):
            return  # Another process made it meanwhile.
        if not root.exists():
            raise
        raise CacheError(
            f"{root} was not made by this program: it has no {_MARK}.",
            "Move it away, or set ZOO_CACHE to another folder.",
        ) from None


def is_marked(root: Path) -> bool:
    """Return whether a folder has our mark, which allows us to remove files from it."""
    try:
        return (root / _MARK).read_text(encoding="utf-8") == _MARK_TEXT
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def cache_errors(place: Path) -> Iterator[None]:
    """Turn an OSError on writing `place` in the block into a CacheError that says what to do."""
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
        forbidden = error.errno in _FORBIDDEN
        reason = "no permission to write" if forbidden else error.strerror or str(error)
        raise CacheError(
            f"The cache folder cannot be used: {place}: {reason}.",
            f"Make it writable, or {elsewhere} that is.",
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make `path` in the block; raises CacheError if the lock cannot be made."""
    from filelock import FileLock

    with cache_errors(path):
        lock = FileLock(f"{path}.lock").acquire()
    with lock:
        yield
