"""Everything that is pinned or was made of it, read again: bits on a disk change, and so do files.

Loading trusts a file whose size and time of modification are those of its last reading; this trusts nothing.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.cache.folders import cache_root
from zoo.cache.lease import remove_unused
from zoo.registry.entry import Entry, PackageSource, PathSource
from zoo.weights.digests import measured_sha256
from zoo.weights.hub import Unavailable
from zoo.weights.locate import CONFIG, WEIGHTS, package_file
from zoo.weights.lock import Lock

__all__ = ["Checked", "File", "check", "files"]


@dataclass(frozen=True)
class File:
    """A file and the SHA-256 that it should have.

    Attributes
    ----------
    name : str
        What it is, for people.
    path : Path or None
        Where it is; None if it is not on this machine.
    sha256 : str or None
        None if nothing says what it should be, because a configuration cannot be read.
    ours : bool
        Whether it lies in a cache, so that it may be removed and downloaded or made again.
    """

    name: str
    path: Path | None
    sha256: str | None
    ours: bool


@dataclass(frozen=True)
class Checked:
    """What came of reading a file: ``intact``, ``damaged``, or ``absent`` if it is not on this machine.

    `removed` says whether a damaged one was removed.
    """

    file: File
    state: Literal["intact", "damaged", "absent"]
    measured: str | None = None
    removed: bool = False


def files(lock: Lock, entries: Iterable[Entry] = ()) -> list[File]:
    """Return what is pinned, what the cache has made of weights, and what entries pin of this machine.

    Raises
    ------
    WeightsError
        If a lock is damaged.
    """
    found = [*_pinned(lock), *_made()]
    for entry in entries:
        for source in entry.sources:
            if isinstance(source, PackageSource | PathSource) and source.sha256 is not None:
                place = _place(source)
                if place is not None:
                    found.append(File(f"{entry.name} ({source})", place, source.sha256, ours=False))
    return found


def check(file: File, advance: Callable[[int], None] = lambda _: None) -> Checked:
    """Read a file whole and compare; a damaged one in a cache is removed, so that it is fetched again.

    Parameters
    ----------
    file : File
    advance : callable, optional
        Called with the number of bytes read.
    """
    if file.path is None:
        return Checked(file, "absent")
    try:
        measured = measured_sha256(file.path)
        advance(file.path.stat().st_size)
    except OSError:
        measured = None
    if measured is not None and measured == file.sha256:
        return Checked(file, "intact", measured)
    return Checked(file, "damaged", measured, removed=file.ours and _remove(file.path))


def _pinned(lock: Lock) -> list[File]:
    pins = lock.pins()
    if not pins:
        return []
    from huggingface_hub import try_to_load_from_cache

    found = []
    for name, pin in pins.items():
        repo, _, _ = name.partition("@")
        for file, sha256 in pin.files.items():
            path = try_to_load_from_cache(repo, file, revision=pin.commit)
            place = Path(path) if isinstance(path, str) else None
            found.append(File(f"{name}/{file}", place, sha256, ours=True))
    return found


def _made() -> list[File]:
    models = cache_root() / "models"
    folders = sorted(path for path in models.glob("[!.]*-*") if path.is_dir())
    return [File(folder.name, folder / WEIGHTS, _recorded(folder), ours=True) for folder in folders]


def _recorded(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["file_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(source: PackageSource | PathSource) -> Path | None:
    try:
        place = package_file(source) if isinstance(source, PackageSource) else source.file
    except Unavailable:
        return None
    place = place / WEIGHTS if place.is_dir() else place
    return place if place.is_file() else None


def _remove(path: Path) -> bool:
    """Remove a file of the Hub client's cache with what it links to, or a folder of ours."""
    if path.parent.parent == cache_root() / "models":
        return remove_unused(path.parent)
    blob = path.resolve()
    return remove_unused(path) and remove_unused(blob)
