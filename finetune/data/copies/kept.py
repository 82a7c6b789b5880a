"""Keypoints and results of comparisons on disk, so that a second run computes nothing.

Both lie in stores like features: an image's keypoints by its digest, a pair's result by both digests. This
is the only module here that knows how an image is opened and where things are kept.
"""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.data.copies import keypoints, verify
from finetune.data.copies.keypoints import Keypoints
from zoo.features.store import DamagedRecord, FeatureStore
from zoo.images.decode import EncodedImage, open_image, read_file
from zoo.parallel import in_order
from zoo.progress import progress

__all__ = ["KeptKeypoints", "KeptResults", "Result", "same_pixels"]

# Records written at a time; images held in memory while pairs are compared (50 kB each).
_BATCH = 256
_HELD = 2048


class KeptKeypoints:
    """Keypoints of images, by place.

    Parameters
    ----------
    paths, digests : sequence
        The images, and the SHA-256 of their bytes.
    """

    def __init__(self, paths: Sequence[Path], digests: Sequence[str]) -> None:
        self._paths, self._digests = paths, digests
        self._store = FeatureStore({"keypoints": keypoints.METHOD}, keypoints.WIDTH, np.uint8)
        self.get = lru_cache(maxsize=_HELD)(self._read)

    def compute(self, places: Sequence[int]) -> None:
        """Compute, in threads, what the store lacks of the images at some places.

        Raises
        ------
        UnreadableImage
            If one of them cannot be read any more.
        """
        missing = self._store.missing([self._digests[i] for i in places])
        work = [i for i in places if self._digests[i] in missing]
        rows = in_order(lambda i: keypoints.pack(self._describe(i)), work, ahead=64)
        batch: list[NDArray[np.uint8]] = []
        with progress("keypoints", len(work)) as advance, closing(rows):
            for done, row in enumerate(rows, start=1):
                batch.append(row)
                advance(1)
                if len(batch) == _BATCH or done == len(work):
                    self._store.add(
                        [self._digests[i] for i in work[done - len(batch) : done]], np.stack(batch)
                    )
                    batch.clear()

    def _read(self, place: int) -> Keypoints:
        try:
            return keypoints.unpack(self._store.take([self._digests[place]])[0])
        except DamagedRecord:
            return self._describe(place)

    def _describe(self, place: int) -> Keypoints:
        path = self._paths[place]
        return keypoints.describe(EncodedImage(read_file(path), str(path)).decode(keypoints.reduction).image)


@dataclass(frozen=True)
class Result:
    """What came of comparing two images.

    Attributes
    ----------
    kind : str
        ``pixels``, ``scene``, or empty where they are no copies.
    score : float
        Share of the detail that is the same; 0 where they are no copies.
    """

    kind: str
    score: float


_KINDS = ("", "pixels", "scene")


class KeptResults:
    """Results of comparing images, by the digests of both; to be closed.

    Parameters
    ----------
    pairs : sequence of (str, str)
        The digests of the pairs that there may be to compare.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        method = {"compared": f"{keypoints.METHOD}; {verify.METHOD}"}
        self._store = FeatureStore(method, 2)
        self._keys = [hashlib.sha256(f"{a} {b}".encode()).hexdigest() for a, b in pairs]
        self._known = self._take()
        self._new: list[tuple[int, Result]] = []

    def __getitem__(self, pair: int) -> Result | None:
        """Return what is known of the pair at a place, None if nothing is."""
        return self._known.get(pair)

    def add(self, pair: int, result: Result) -> None:
        """Keep the result of the pair at a place."""
        self._new.append((pair, result))
        if len(self._new) == _BATCH:
            self.close()

    def close(self) -> None:
        """Write what was not written yet."""
        if self._new:
            rows = [(_KINDS.index(result.kind), result.score) for _, result in self._new]
            self._store.add([self._keys[pair] for pair, _ in self._new], np.array(rows, np.float32))
            self._new.clear()

    def _take(self) -> dict[int, Result]:
        missing = self._store.missing(self._keys)
        known = [pair for pair, key in enumerate(self._keys) if key not in missing]
        try:
            rows = self._store.take([self._keys[pair] for pair in known])
        except DamagedRecord:
            return {}
        results = [Result(_KINDS[int(kind)], float(score)) for kind, score in rows.tolist()]
        return dict(zip(known, results, strict=True))


def same_pixels(a: Path, b: Path) -> bool:
    """Whether two images are equal once decoded.

    Parameters
    ----------
    a, b : Path
        Image files.

    Returns
    -------
    bool

    Raises
    ------
    UnreadableImage
        If one cannot be read.
    """
    first, second = open_image(a), open_image(b)
    return first.size == second.size and first.tobytes() == second.tobytes()
