"""What lies in the cache folder: of which kind, how large, when last of use.

Only what has the name of something that this project writes counts, so that a cache folder that was set
to a folder with other things in it (``ZOO_CACHE=~``) does them no harm. Links are not followed.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.cache.folders import cache_root
from zoo.cache.lease import DAY, TEMPORARY

__all__ = ["Item", "Kind", "inventory", "kinds", "leftovers"]

_DIGEST = r"[0-9a-f]{24}"
_ABOUT = "about.json"


@dataclass(frozen=True)
class Kind:
    """A kind of things that are kept.

    Attributes
    ----------
    name : str
        What a user calls it.
    title : str
        What it is.
    folders : tuple of str
        Where its items lie, below the cache folder.
    pattern : str
        A regular expression for the whole names of its items.
    within_limit : bool
        Whether the limit applies: to what can be computed again, and grows.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    pattern: str
    within_limit: bool


_KINDS = (
    # Weights may have to be downloaded again, and not everybody who is offline can.
    Kind("models", "weights, readied", ("models",), r".+-[0-9a-f]{16}|[0-9a-f]{16}\.hub\.json", False),
    Kind("graphs", "networks, converted", ("graphs",), _DIGEST, True),
    Kind("features", "features", ("features",), _DIGEST, True),
    Kind("demo", "demo pictures", ("demo",), r"openmoji-.+(?<!\.lock)", False),
    Kind("notes", "notes", ("digests", "engines", "timm-names"), r"[\w.-]+\.json|\d[\w.]*", False),
)


@dataclass(frozen=True)
class Item:
    """One thing that is kept.

    Attributes
    ----------
    kind : Kind
        What it is.
    path : Path
        Its folder or file.
    size : int
        Bytes.
    used : float
        When it was last of use, in seconds since 1970.
    about : dict
        What it says of itself; empty where it says nothing.
    """

    kind: Kind
    path: Path
    size: int
    used: float
    about: dict[str, Any]

    @property
    def network(self) -> str | None:
        """The architecture it belongs to, where that is known."""
        if self.kind.name == "models" and self.path.is_dir():
            return self.path.name.rpartition("-")[0]
        found = self.about.get("architecture")
        return found if isinstance(found, str) else None

    @property
    def images(self) -> int | None:
        """How many images' features it holds; None for what is no feature store."""
        digests = self.path / "digests.bin"
        return digests.stat().st_size // 32 if digests.is_file() else None


def kinds() -> list[Kind]:
    """Return the kinds there are, with any others in the cache folder whose items describe themselves.

    Returns
    -------
    list of Kind
        Another kind is a folder in which folders have an ``about.json``.
    """
    known = {name for kind in _KINDS for name in kind.folders}
    others = [
        Kind(entry.name, entry.name, (entry.name,), ".+", True)
        for entry in _entries(cache_root())
        if entry.name not in known
        and entry.is_dir(follow_symlinks=False)
        and any(_described(inside) for inside in _entries(Path(entry.path)))
    ]
    return [*_KINDS, *sorted(others, key=lambda kind: kind.name)]


def inventory(of: Iterable[Kind] | None = None) -> list[Item]:
    """Return what is kept, kind by kind, the last used first.

    Parameters
    ----------
    of : iterable of Kind, optional
        By default all `kinds`.

    Returns
    -------
    list of Item
    """
    found = []
    for kind in kinds() if of is None else of:
        items = [item for name in kind.folders for item in _items(kind, cache_root() / name)]
        found += sorted(items, key=lambda item: -item.used)
    return found


def leftovers() -> list[Path]:
    """Return what killed processes left behind more than a day ago: unfinished writing, and locks."""
    found = []
    for folder in {name for kind in kinds() for name in kind.folders}:
        for entry in _entries(cache_root() / folder):
            unfinished = entry.name.endswith((TEMPORARY, ".lock")) or entry.name.startswith(".")
            with suppress(FileNotFoundError):  # Finished meanwhile.
                if unfinished and time.time() - _newest(Path(entry.path)) > DAY:
                    found.append(Path(entry.path))
    return found


def _items(kind: Kind, folder: Path) -> Iterator[Item]:
    for entry in _entries(folder):
        ours = re.fullmatch(kind.pattern, entry.name) and not entry.name.startswith(".")
        if not ours or entry.is_symlink() or (kind not in _KINDS and not _described(entry)):
            continue
        try:
            path = Path(entry.path)
            yield Item(kind, path, _size(path), entry.stat().st_mtime, _about(path))
        except FileNotFoundError:
            continue  # Removed meanwhile.


def _described(entry: "os.DirEntry[str]") -> bool:
    return entry.is_dir(follow_symlinks=False) and os.path.isfile(os.path.join(entry.path, _ABOUT))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds; nothing where it is not there, or is a link to elsewhere."""
    if folder.is_symlink() and folder != cache_root():
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _newest(path: Path) -> float:
    """When a file, or anything at any depth of a folder, was last written."""
    times = [path.lstat().st_mtime]
    for folder, names, files in os.walk(path):
        times += [os.lstat(os.path.join(folder, name)).st_mtime for name in (*names, *files)]
    return max(times)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    total = path.lstat().st_size if not path.is_dir() else 0
    for folder, _, files in os.walk(path):
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return total


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
