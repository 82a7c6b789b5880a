"""Keeping the cache folder small: a limit, beyond which what was longest of no use goes first.

The limit applies to what can be computed again (features, converted networks, and whatever else describes
itself by an ``about.json``), not to weights, which may have to be downloaded. It is ``$ZOO_CACHE_LIMIT``;
without it 20 GB, which hold the features of some 4 million images, but no more than half of what the disk
would have free without them: a cache shall never be why another program's disk is full.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zoo.cache.folders import CacheError, cache_folder
from zoo.cache.inventory import Item, inventory, kinds, leftovers
from zoo.cache.lease import DAY, remove_unused

__all__ = ["Cleared", "asked_limit", "bytes_of", "clear", "keep_within_limit", "limit_of", "matching"]

_DEFAULT = 20 * 10**9
_UNITS = {
    unit + "b": factor**power
    for power, letter in enumerate(("k", "m", "g", "t"), start=1)
    for unit, factor in ((letter, 1000), (letter + "i", 1024))
}


@dataclass(frozen=True)
class Cleared:
    """What came of clearing.

    Attributes
    ----------
    removed : list of Item
        What is gone.
    in_use : list of Item
        What stayed, for a process uses it.
    """

    removed: list[Item]
    in_use: list[Item]


def bytes_of(text: str) -> int:
    """Read a size.

    Parameters
    ----------
    text : str
        A number with a unit, such as ``20GB`` or ``1.5 GiB``.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> bytes_of("1.5 GB"), bytes_of("1KiB")
    (1500000000, 1024)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", text.lower())
    if not found:
        raise ValueError(text)
    return int(float(found[1]) * _UNITS[found[2]])


def asked_limit() -> int | None:
    """Return the limit that ``$ZOO_CACHE_LIMIT`` asks for, in bytes; 0 is none.

    Returns
    -------
    int or None
        None where it asks for nothing.

    Raises
    ------
    CacheError
        If it is neither a size nor ``0`` nor ``none``.
    """
    text = os.environ.get("ZOO_CACHE_LIMIT", "").strip()
    if not text:
        return None
    if text.lower() in ("0", "none"):
        return 0
    try:
        return bytes_of(text)
    except ValueError:
        raise CacheError(
            f"ZOO_CACHE_LIMIT is {text!r}, which is no size.",
            "Write a number and its unit, such as 20GB or 500MB; 0 or none for no limit.",
        ) from None


def limit_of(items: Iterable[Item]) -> int | None:
    """Return how many bytes what can be computed again may have.

    Parameters
    ----------
    items : iterable of Item
        What is there.

    Returns
    -------
    int or None
        None for no limit.
    """
    asked = asked_limit()
    if asked is not None:
        return asked or None
    within = sum(item.size for item in items if item.kind.within_limit)
    return min(_DEFAULT, (shutil.disk_usage(cache_folder()).free + within) // 2)


def keep_within_limit(protect: Iterable[Path] = ()) -> list[Path]:
    """Remove what was longest of no use, until the limit is kept; to be called after writing much.

    What any process holds (:class:`zoo.cache.lease.Hold`) stays, even where the limit is then not kept.

    Parameters
    ----------
    protect : iterable of Path, optional
        Folders that stay besides.

    Returns
    -------
    list of Path
        What was removed.
    """
    for path in leftovers():
        remove_unused(path)
    items = inventory(kind for kind in kinds() if kind.within_limit)
    limit = limit_of(items)
    excess = sum(item.size for item in items) - limit if limit is not None else 0
    kept = set(protect)
    removed = []
    for item in sorted(items, key=lambda item: item.used):
        if excess <= 0:
            break
        if item.path not in kept and remove_unused(item.path):
            removed.append(item.path)
            excess -= item.size
    return removed


def matching(
    names: Iterable[str] = (), model: str | None = None, older_than: float | None = None
) -> list[Item]:
    """Return what of the cache a user means.

    Parameters
    ----------
    names : iterable of str, optional
        Kinds. By default all but ``models``, which may have to be downloaded again.
    model : str, optional
        Only what belongs to a network whose name has this in it.
    older_than : float, optional
        Only what was of no use for so many days.

    Returns
    -------
    list of Item

    Raises
    ------
    CacheError
        If there is no such kind.
    """
    known = [kind.name for kind in kinds()]
    wanted = list(names) or [name for name in known if name != "models"]
    for name in wanted:
        if name not in known:
            raise CacheError(f"The cache has no {name!r}.", f"Name some of {', '.join(known)}.")
    latest = time.time() - (older_than or 0) * DAY
    return [
        item
        for item in inventory()
        if item.kind.name in wanted
        and (older_than is None or item.used < latest)
        and (model is None or model.lower() in (item.network or "").lower())
    ]


def clear(items: Iterable[Item]) -> Cleared:
    """Remove things from the cache, but nothing that a process uses at this moment.

    Parameters
    ----------
    items : iterable of Item
        What shall go. What killed processes left behind goes too.

    Returns
    -------
    Cleared
    """
    cleared = Cleared([], [])
    for item in items:
        (cleared.removed if remove_unused(item.path) else cleared.in_use).append(item)
    for path in leftovers():
        remove_unused(path)
    return cleared
