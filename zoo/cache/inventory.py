"""What the cache holds, its size limit, and removing what is not needed.

The limit applies to what can be computed again (features, converted networks), not to weights, which may have
to be downloaded. It is ``$ZOO_CACHE_LIMIT``; by default 20 GB, which hold the features of some 4 million
images, and no more than half of what the disk would have free without them. The least recently used goes
first.

Only names that this project generates, below a folder with its mark, are listed or removed.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.cache.folders import CacheError, cache_root, is_marked
from zoo.cache.lease import DAY, remove_unused
from zoo.reading import read_json

__all__ = ["KINDS", "LIMITED", "Item", "clear", "inventory", "keep_within_limit", "select", "size_limit"]

_DIGEST = r"[0-9a-f]{24}"
_LEFTOVER = r"\.[^.].*\.tmp|(openmoji-|[0-9a-f]{24}|.+-[0-9a-f]{16}).*\.lock"
_DEFAULT_LIMIT = 20 * 10**9
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


#: What the whole names of items look like. ``models`` are verified weights, ``graphs`` converted networks,
#: ``notes`` findings such as which engine is the fastest.
KINDS = {
    "models": rf"[^.].*-[0-9a-f]{{16}}|{_DIGEST}\.json",
    "graphs": _DIGEST,
    "features": _DIGEST,
    "demo": r"openmoji-\d(?!.*\.lock$).*",
    "notes": rf"{_DIGEST}\.json",
}

#: The kinds that the size limit applies to.
LIMITED = frozenset({"graphs", "features"})


@dataclass(frozen=True)
class Item:
    """One thing in the cache: its kind, its folder or file, its bytes, when it was last used (in
    seconds since 1970), and its own description from ``about.json``, empty if it has none.
    """

    kind: str
    path: Path
    size: int
    used: float
    about: dict[str, Any]

    @property
    def network(self) -> str | None:
        """The architecture it belongs to, where that is known."""
        if self.kind == "models" and self.path.is_dir():
            return self.path.name.rpartition("-")[0]
        found = self.about.get("architecture")
        return found if isinstance(found, str) else None


def inventory() -> list[Item]:
    """Return what the cache holds, kind by kind, the most recently used first."""
    found = []
    for kind, pattern in KINDS.items():
        items = []
        for path in _paths(kind, pattern):
            with suppress(FileNotFoundError):  # Removed meanwhile.
                items.append(Item(kind, path, _size(path), path.stat().st_mtime, _about(path)))
        found += sorted(items, key=lambda item: -item.used)
    return found


def size_limit(items: Iterable[Item] = ()) -> int | None:
    """Return how many bytes the kinds with a limit may have, given what is there; None for no limit.

    Raises
    ------
    CacheError
        If ``$ZOO_CACHE_LIMIT`` is neither a size nor ``0`` nor ``none``.
    """
    text = os.environ.get("ZOO_CACHE_LIMIT", "").strip().lower()
    if text in ("0", "none"):
        return None
    if not text:
        within = sum(item.size for item in items if item.kind in LIMITED)
        existing = next(folder for folder in (cache_root(), *cache_root().parents) if folder.exists())
        return min(_DEFAULT_LIMIT, (shutil.disk_usage(existing).free + within) // 2)
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b", text)
    if parts is None:
        raise CacheError(
            f"ZOO_CACHE_LIMIT is {text!r}, which is not a size.",
            "Write a number and its unit, such as 20GB or 500MB; 0 or none for no limit.",
        )
    return int(float(parts[1]) * (1024 if parts[3] else 1000) ** _UNITS[parts[2]])


def keep_within_limit(protect: Iterable[Path] = ()) -> list[Path]:
    """Remove the least recently used until the limit is kept; return what was removed.

    What a process has a :class:`zoo.cache.lease.Lease` on stays, and what is in `protect`, even if the limit
    is then exceeded.
    """
    _remove_leftovers()
    items = [item for item in inventory() if item.kind in LIMITED]
    limit = size_limit(items)
    excess = sum(item.size for item in items) - limit if limit is not None else 0
    protected, removed = set(protect), []
    for item in sorted(items, key=lambda item: item.used):
        if excess > 0 and item.path not in protected and remove_unused(item.path):
            removed.append(item.path)
            excess -= item.size
    return removed


def select(
    kinds: Iterable[str] = (), model: str | None = None, older_than: float | None = None
) -> list[Item]:
    """Return items of some kinds (by default all but ``models``, which may have to be downloaded again).

    Only those of a network with `model` in its name, and that were not used for `older_than` days. Raises
    CacheError if there is no such kind.
    """
    wanted = set(kinds) or set(KINDS) - {"models"}
    if unknown := sorted(wanted - set(KINDS)):
        raise CacheError(f"The cache has no {unknown[0]!r}.", f"Choose from {', '.join(KINDS)}.")
    latest = time.time() - (older_than or 0) * DAY
    return [
        item
        for item in inventory()
        if item.kind in wanted
        and (older_than is None or item.used < latest)
        and (model is None or model.lower() in (item.network or "").lower())
    ]


def clear(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Remove items; return those that are gone, and those that stayed because a process uses them."""
    removed: list[Item] = []
    in_use: list[Item] = []
    for item in items:
        (removed if remove_unused(item.path) else in_use).append(item)
    _remove_leftovers()
    return removed, in_use


def _remove_leftovers() -> None:
    """Remove unfinished files and locks that have not changed for a day."""
    for kind in KINDS:
        for path in _paths(kind, _LEFTOVER):
            with suppress(FileNotFoundError):  # Finished meanwhile.
                if time.time() - _last_change(path) > DAY:
                    remove_unused(path)


def _paths(kind: str, pattern: str) -> list[Path]:
    """Files and folders of a kind whose whole names fit; links are left alone."""
    folder = cache_root() / kind
    if not is_marked(cache_root()) or folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if re.fullmatch(pattern, path.name) and not path.is_symlink()
    )


def _last_change(path: Path) -> float:
    """When a file, or anything below a folder, last changed."""
    return max(place.lstat().st_mtime for place in (path, *path.rglob("*")))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(place.lstat().st_size for place in (path, *path.rglob("*")) if not place.is_dir())


def _about(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path / "about.json")
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
