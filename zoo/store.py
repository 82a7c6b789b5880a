"""Features on disk, so that no image is computed twice.

A store is a folder for one feature space (a model's weights, its preprocessing and precision) with
two append-only files of fixed-size records: ``digests.bin`` holds the SHA-256 of each image's bytes,
``rows.bin`` its features with a checksum. Record i of one belongs to record i of the other. A row is
written before its digest, so that a process killed half-way leaves at worst a tail without a digest,
which the next writer cuts off. Writers take a lock; readers need none.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.cache import cache_folder

__all__ = ["DamagedRecord", "FeatureStore"]

_DIGEST = np.dtype("V32")


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
    """

    def __init__(self, identity: dict[str, Any], width: int) -> None:
        described = json.dumps(identity, sort_keys=True)
        self.folder = cache_folder("features", hashlib.sha256(described.encode()).hexdigest()[:24])
        self.width = width
        self._record = np.dtype([("x", np.float32, (width,)), ("crc", np.uint32)])
        self._digests = self.folder / "digests.bin"
        self._rows = self.folder / "rows.bin"
        self._places: dict[bytes, int] = {}
        self._known = 0
        about = self.folder / "about.json"
        if not about.exists():
            _write_whole(about, json.dumps({**identity, "width": width}, indent=1, sort_keys=True))
        self._refresh()
        os.utime(self.folder)  # when it was last of use, for whoever clears the oldest

    def missing(self, digests: Sequence[str]) -> set[str]:
        """Return those of the hexadecimal `digests` that have no features here."""
        self._refresh()
        return {digest for digest in digests if bytes.fromhex(digest) not in self._places}

    def take(self, digests: Sequence[str]) -> NDArray[np.float32]:
        """Return the features of images that are here.

        Parameters
        ----------
        digests : sequence of str
            Hexadecimal SHA-256 of the images' bytes.

        Returns
        -------
        (n, width) float32 array
            In the order asked.

        Raises
        ------
        DamagedRecord
            If records fail their checksum. They are forgotten, so that :meth:`missing` names them.
        """
        places = [self._places[bytes.fromhex(digest)] for digest in digests]
        if not places:
            return np.empty((0, self.width), np.float32)
        records = np.memmap(self._rows, self._record, "r")[places]
        rows = np.ascontiguousarray(records["x"])
        sums = np.fromiter((zlib.crc32(row.data) for row in rows), np.uint32, len(rows))
        damaged = np.flatnonzero(sums != records["crc"]).tolist()
        if damaged:
            for i in damaged:
                self._places.pop(bytes.fromhex(digests[i]), None)
            raise DamagedRecord(f"{len(damaged)} damaged records in {self._rows}")
        return rows

    def add(self, digests: Sequence[str], X: NDArray[np.float32]) -> None:
        """Append features, in whole records, where another process may be doing the same."""
        import filelock

        records = np.empty(len(X), self._record)
        records["x"] = X
        records["crc"] = [zlib.crc32(row.tobytes()) for row in X]
        with filelock.FileLock(self.folder / "lock"):
            count = self._count()
            self._append(self._rows, count * self._record.itemsize, records.tobytes())
            self._append(self._digests, count * 32, b"".join(bytes.fromhex(d) for d in digests))
        self._refresh()

    def _count(self) -> int:
        """How many whole records both files have."""
        sizes = [path.stat().st_size if path.exists() else 0 for path in (self._digests, self._rows)]
        return min(sizes[0] // 32, sizes[1] // self._record.itemsize)

    def _refresh(self) -> None:
        """Learn of records that were appended since the last look."""
        count = self._count()
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


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that no other process ever sees half of it."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
