"""From images to stored features: read, decode in threads, batch, compute, store.

Each image is read and decoded while the engine works on the batch before; what the stores already have is
not decoded at all. In memory are paths and digests, some hundred prepared images and one batch of rows,
however many images there are.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from zoo.engines import BATCH
from zoo.features.spaces import Space, prepared
from zoo.features.store import BlockStores, DamagedRecord
from zoo.images.decode import ContentInMemory, EncodedImage, UnreadableImage, read_file
from zoo.parallel import in_order
from zoo.progress import progress

__all__ = ["Extraction", "ExtractionInterrupted", "compute"]

#: Rows read from a store at a time.
CHUNK = 1024

#: Images that may be decoded before the engine takes them: many enough that a network's first conversion,
#: which keeps one core busy for seconds, is not waited for. 224 pixels: 150 kB each.
AHEAD = 8 * BATCH


class ExtractionInterrupted(KeyboardInterrupt):
    """Raised on Ctrl-C; its message gives how much of the work is stored."""


@dataclass
class Extraction:
    """Images whose rows are stored.

    Attributes
    ----------
    paths : list of Path
        The images that could be read, in the order given.
    digests : list of str
        SHA-256 of their bytes.
    kept : (n,) int array
        Their places in the request.
    skipped : dict of int to UnreadableImage
        Why the image at a place could not be read.
    computed : int
        How many images were not in the stores; grows if :meth:`rows` finds damaged ones.
    seconds : float
        What that took.
    spaces : sequence of Space
        What was computed.
    stores : sequence of BlockStores
        Where it is stored, one a space.
    """

    paths: list[Path]
    digests: list[str]
    kept: NDArray[np.int64]
    skipped: dict[int, UnreadableImage]
    computed: int
    seconds: float
    spaces: Sequence[Space]
    stores: Sequence[BlockStores]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, space: int = 0) -> Iterator[NDArray[Any]]:
        """Read the rows of a space, some at a time, in the images' order.

        Raises UnreadableImage if a row turns out to be damaged, and its image cannot be read any more.
        """
        for start in range(0, len(self), CHUNK):
            part = slice(start, start + CHUNK)
            try:
                yield self.stores[space].take(self.digests[part])
            except DamagedRecord:
                # The store has forgotten what was damaged, so it is computed again.
                again = _compute(self.paths[part], self.spaces, self.stores)
                if again.skipped:
                    raise next(iter(again.skipped.values())) from None
                self.computed += again.computed
                yield self.stores[space].take(self.digests[part])

    @cached_property
    def matrices(self) -> list[NDArray[Any]]:
        """All rows of each space, (n, width), in memory."""
        matrices = []
        for place, space in enumerate(self.spaces):
            X = np.empty((len(self), space.width), space.dtype)
            start = 0
            for rows in self.rows(place):
                X[start : start + len(rows)] = rows
                start += len(rows)
            matrices.append(X)
        return matrices


def compute(paths: Sequence[Path | ContentInMemory], spaces: Sequence[Space]) -> Extraction:
    """Compute spaces over the same images, taking from the stores what is there.

    Parameters
    ----------
    paths : sequence of Path or ContentInMemory
        The images; the same content in two places is computed once.
    spaces : sequence of Space
        What to compute of each.

    Returns
    -------
    Extraction
        An image that cannot be read costs only itself.

    Raises
    ------
    ExtractionInterrupted
        On Ctrl-C; whole batches that were computed are kept.
    """
    return _compute(cast("Sequence[Path]", paths), spaces, None)  # both are read and named alike


def _compute(
    paths: Sequence[Path], spaces: Sequence[Space], stores: Sequence[BlockStores] | None
) -> Extraction:
    digests, skipped = _digests(paths)
    by_digest: dict[str, int] = {}
    for place, digest in digests.items():
        by_digest.setdefault(digest, place)
    if stores is None:
        # To ask for an identity may settle a precision, for which engines are made.
        _expect(spaces, [len(by_digest)] * len(spaces))
        stores = [BlockStores(space.blocks, space.dtype) for space in spaces]
    missing = [store.missing(list(by_digest)) for store in stores]
    job = _Job(paths, digests, spaces, stores, missing)
    work = [place for digest, place in by_digest.items() if job.lacks(digest)]
    _expect(spaces, [len(lacking) for lacking in missing])
    start = perf_counter()
    try:
        faults = job.run(work)
    except KeyboardInterrupt:
        raise ExtractionInterrupted(_how_much(stores, list(by_digest))) from None
    for place, digest in digests.items():
        if (first := by_digest[digest]) in faults:
            skipped[place] = UnreadableImage(str(paths[place]), faults[first].reason, faults[first].next_step)
    kept = [place for place in digests if place not in skipped]
    return Extraction(
        paths=[paths[place] for place in kept],
        digests=[digests[place] for place in kept],
        kept=np.array(kept, dtype=np.int64),
        skipped=dict(sorted(skipped.items())),
        computed=len(work) - len(faults),
        seconds=perf_counter() - start,
        spaces=spaces,
        stores=stores,
    )


def _expect(spaces: Sequence[Space], counts: Sequence[int]) -> None:
    """Tell engines how much there is to do, so that `auto` knows whether timing them pays."""
    for space in spaces:
        space.base.expected_images = 0
    for space, count in zip(spaces, counts, strict=True):
        space.base.expected_images = (space.base.expected_images or 0) + count


def _how_much(stores: Sequence[BlockStores], digests: list[str]) -> str:
    lacking = set().union(*(store.missing(digests) for store in stores))
    done = len(digests) - len(lacking)
    return f"{done} of {len(digests)} images are stored; run the command again to continue."


def _digests(paths: Sequence[Path]) -> tuple[dict[int, str], dict[int, UnreadableImage]]:
    """SHA-256 of every file, by place, and why some could not be read."""

    def digest(path: Path) -> str | UnreadableImage:
        try:
            return hashlib.sha256(read_file(path)).hexdigest()
        except UnreadableImage as error:
            return error

    digests: dict[int, str] = {}
    skipped: dict[int, UnreadableImage] = {}
    with progress("reading", len(paths)) as advance, closing(in_order(digest, paths, ahead=64)) as results:
        for place, result in enumerate(results):
            if isinstance(result, str):
                digests[place] = result
            else:
                skipped[place] = result
            advance(1)
    return digests, skipped


@dataclass(frozen=True)
class _Job:
    """What there is to compute: images, their digests by place, spaces, stores, and what each store lacks."""

    paths: Sequence[Path]
    digests: dict[int, str]
    spaces: Sequence[Space]
    stores: Sequence[BlockStores]
    missing: Sequence[set[str]]

    def lacks(self, digest: str) -> bool:
        return any(digest in lacking for lacking in self.missing)

    def run(self, work: Sequence[int]) -> dict[int, UnreadableImage]:
        """Compute the images at some places; return why some could not be read."""
        faults: dict[int, UnreadableImage] = {}
        batches = [_Batch(space, store) for space, store in zip(self.spaces, self.stores, strict=True)]
        decoded = in_order(self._decode, work, ahead=AHEAD)
        with progress("features", len(work)) as advance, closing(decoded):
            for place, result in zip(work, decoded, strict=True):
                if isinstance(result, UnreadableImage):
                    faults[place] = result
                else:
                    for batch, pixels in zip(batches, result, strict=True):
                        if pixels is not None:
                            batch.add(self.digests[place], pixels)
                advance(1)
            for batch in batches:
                batch.flush()
        return faults

    def _decode(self, place: int) -> list[NDArray[np.uint8] | None] | UnreadableImage:
        """Return an image as each space needs it, None for those that have it already."""
        path, digest = self.paths[place], self.digests[place]
        try:
            content = read_file(path)
            if hashlib.sha256(content).hexdigest() != digest:
                raise UnreadableImage(str(path), "changed while it was read", "Run the command again.")
            image = EncodedImage(content, str(path))
            return [
                prepared(space, image) if digest in lacking else None
                for space, lacking in zip(self.spaces, self.missing, strict=True)
            ]
        except UnreadableImage as error:
            return error


class _Batch:
    """Collects prepared images until there are enough to run, then stores their features."""

    def __init__(self, space: Space, store: BlockStores) -> None:
        self._space = space
        self._store = store
        self._digests: list[str] = []
        self._pixels: NDArray[np.uint8] | None = None

    def add(self, digest: str, pixels: NDArray[np.uint8]) -> None:
        if self._pixels is None:
            self._pixels = np.zeros((BATCH, *pixels.shape), np.uint8)
        self._pixels[len(self._digests)] = pixels
        self._digests.append(digest)
        if len(self._digests) == BATCH:
            self.flush()

    def flush(self) -> None:
        if self._pixels is not None and self._digests:
            rows = self._space.run(self._pixels)[: len(self._digests)]
            self._store.add(self._digests, rows)
            self._digests.clear()
