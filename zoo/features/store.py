"""Features on disk, so that no image is computed twice.

A store is a folder for one feature space (a model's weights, its preprocessing and precision) with
two append-only files of fixed-size records: ``digests.bin`` holds the SHA-256 of each image's bytes,
``rows.bin`` its features with a checksum. Record i of one belongs to record i of the other. A row is
written before its digest, so that a process killed half-way leaves at worst a tail without a digest,
which the next writer cuts off. Writers take a lock; readers need none. While a store is open, nobody
removes it (:class:`zoo.cache.lease.Lease`); still, records are checked when they are read, so that not even a
folder that was deleted by hand and filled anew gives an image another's features.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zoo.cache.folders import cache_errors, cache_folder, locked
from zoo.cache.inventory import keep_within_limit, size_limit
from zoo.cache.lease import Lease
from zoo.cache.notes import digest_of
from zoo.writing import write_text

__all__ = ["BlockStores", "DamagedRecord", "FeatureStore"]

_DIGEST = np.dtype("V32")

# Bytes written between two looks at whether the cache keeps its limit, which take some milliseconds.
_LOOK_EVERY = 64 * 2**20


class DamagedRecord(Exception):
    """Stored features that fail their checksum."""


class FeatureStore:
    """The features of one feature space, by the content of the image.

    Parameters
    ----------
    identity : dict
        Everything that the features depend on besides the image; equal identities share a store.
    width : int
        Features an image.
    dtype : data type, optional
        What they are kept as: float32, float16 for half the bytes, or uint8 for packed records.

    Raises
    ------
    CacheError
        If the store cannot be made, or ``$ZOO_CACHE_LIMIT`` is no size.
    """

    def __init__(self, identity: dict[str, Any], width: int, dtype: DTypeLike = np.float32) -> None:
        size_limit()  # An unreadable one is reported before anything is computed.
        self._dtype = np.dtype(dtype)
        if self._dtype != np.float32:
            identity = {**identity, "kept": self._dtype.name}
        self.folder = cache_folder("features") / digest_of(identity)
        self._lease = Lease(self.folder, create=True)
        self.width = width
        self._record = np.dtype([("x", self._dtype, (width,)), ("crc", np.uint32)])
        self._digests = self.folder / "digests.bin"
        self._rows = self.folder / "rows.bin"
        self._places: dict[bytes, int] = {}
        self._known = 0
        self._unseen = _LOOK_EVERY  # Bytes since the last look; the first writing has one.
        about = self.folder / "about.json"
        if not about.exists():
            with cache_errors(self.folder):
                write_text(about, json.dumps({**identity, "width": width}, indent=1, sort_keys=True))
        self._refresh()

    def missing(self, digests: Sequence[str]) -> set[str]:
        """Return those of the hexadecimal `digests` that have no features here."""
        self._refresh()
        return {digest for digest in digests if bytes.fromhex(digest) not in self._places}

    def take(self, digests: Sequence[str]) -> NDArray[Any]:
        """Return the features of images that are here, (n, width), by the hexadecimal SHA-256 of their bytes.

        Raises DamagedRecord if records fail their checksum. They are forgotten, so that :meth:`missing` names
        them.
        """
        if not digests:
            return np.empty((0, self.width), self._dtype)
        self._refresh()
        wanted = [bytes.fromhex(digest) for digest in digests]
        lost = sum(digest not in self._places for digest in wanted)
        if lost:
            raise DamagedRecord(f"{lost} records are no longer in {self._rows}")
        places = [self._places[digest] for digest in wanted]
        # As many as there are digests: a writer may be in the midst of adding a row.
        records = np.memmap(self._rows, self._record, "r", shape=(self._known,))[places]
        owners = np.memmap(self._digests, _DIGEST, "r", shape=(self._known,))[places]
        rows = np.ascontiguousarray(records["x"])
        sums = np.fromiter((zlib.crc32(row.data) for row in rows), np.uint32, len(rows))
        same = np.fromiter((a.tobytes() == b for a, b in zip(owners, wanted, strict=True)), bool, len(rows))
        damaged = np.flatnonzero((sums != records["crc"]) | ~same).tolist()
        if damaged:
            for i in damaged:
                self._places.pop(wanted[i], None)
            raise DamagedRecord(f"{len(damaged)} damaged records in {self._rows}")
        return rows

    def add(self, digests: Sequence[str], X: NDArray[Any]) -> None:
        """Append features, in whole records, where another process may be doing the same.

        Raises CacheError if they cannot be written, for instance on a full disk; the store stays as it was.
        """
        records = np.empty(len(X), self._record)
        if self._dtype == np.float16:
            # What is beyond a small type's range, which no trained network gives, becomes its limit.
            limits = np.finfo(self._dtype)
            X = np.clip(X, limits.min, limits.max)
        records["x"] = X
        records["crc"] = [zlib.crc32(row.tobytes()) for row in records["x"]]
        with locked(self._rows), cache_errors(self.folder):
            count = self._count()
            self._append(self._rows, count * self._record.itemsize, records.tobytes())
            self._append(self._digests, count * 32, b"".join(bytes.fromhex(d) for d in digests))
        self._refresh()
        self._unseen += records.nbytes
        if self._unseen >= _LOOK_EVERY:
            self._unseen = 0
            keep_within_limit(protect=[self.folder])

    def _count(self) -> int:
        """How many whole records both files have."""
        sizes = [path.stat().st_size if path.exists() else 0 for path in (self._digests, self._rows)]
        return min(sizes[0] // 32, sizes[1] // self._record.itemsize)

    def _refresh(self) -> None:
        """Learn of records that were appended since the last look."""
        count = self._count()
        if count < self._known:  # Deleted by hand, or cut.
            self._places.clear()
            self._known = 0
        if count > self._known:
            with open(self._digests, "rb") as file:
                file.seek(self._known * 32)
                new = np.frombuffer(file.read((count - self._known) * 32), _DIGEST)
            self._places.update((d.tobytes(), self._known + i) for i, d in enumerate(new))
            self._known = count

    @staticmethod
    def _append(path: Path, start: int, content: bytes) -> None:
        """Write at `start`, cutting off what an interrupted writer left behind it."""
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(content)


class BlockStores:
    """The stores of the blocks that a space's rows consist of: the identity and width of each.

    A block is kept once, whichever spaces it is part of.
    """

    def __init__(self, blocks: Sequence[tuple[dict[str, Any], int]], dtype: DTypeLike) -> None:
        self.stores = [FeatureStore(identity, width, dtype) for identity, width in blocks]
        self._ends = np.cumsum([store.width for store in self.stores]).tolist()

    def missing(self, digests: Sequence[str]) -> set[str]:
        """Return those of the hexadecimal `digests` of which a block is missing."""
        return set().union(*(store.missing(digests) for store in self.stores))

    def take(self, digests: Sequence[str]) -> NDArray[Any]:
        """Return rows that are here, as :meth:`FeatureStore.take` does."""
        parts = [store.take(digests) for store in self.stores]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def add(self, digests: Sequence[str], X: NDArray[Any]) -> None:
        """Store rows, as :meth:`FeatureStore.add` does; each block where it is missing."""
        for store, part in zip(self.stores, np.split(X, self._ends[:-1], axis=1), strict=True):
            lacking = store.missing(digests)
            places = [place for place, digest in enumerate(digests) if digest in lacking]
            if places:
                store.add([digests[place] for place in places], np.ascontiguousarray(part[places]))
