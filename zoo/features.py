"""From images to features: read, decode, compute, keep.

Each image is read once and decoded once, in threads, while the engine works on the batch before;
what the store already has is not decoded at all.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.engines import BATCH
from zoo.images import UnreadableImage, open_image, read_file
from zoo.progress import progress
from zoo.spaces import BackboneSpace, Space
from zoo.store import DamagedRecord, FeatureStore

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["Extraction", "Features", "compute", "extract", "threads"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Extraction:
    """What came of computing several spaces over the same images.

    Attributes
    ----------
    paths : list of Path
        The images that could be read, in the order given.
    digests : list of str
        SHA-256 of their bytes.
    kept : (n,) int array
        Their places in what was asked.
    matrices : list of (n, width) float32 arrays
        One a space.
    skipped : dict of int to UnreadableImage
        Why the image at a place could not be read.
    computed : int
        How many images were not in the store.
    """

    paths: list[Path]
    digests: list[str]
    kept: NDArray[np.int64]
    matrices: list[NDArray[np.float32]]
    skipped: dict[int, UnreadableImage]
    computed: int


@dataclass(frozen=True)
class Features:
    """Features of images, one row each.

    Attributes
    ----------
    X : (n, d) float32 array
        In the order the images were given.
    paths : list of Path
        The images.
    digests : list of str
        SHA-256 of their bytes.
    identity : dict
        What the features depend on besides the images.
    skipped : dict of int to UnreadableImage
        Images without a row, by their place in what was given.
    """

    X: NDArray[np.float32]
    paths: list[Path]
    digests: list[str]
    identity: dict[str, Any]
    skipped: dict[int, UnreadableImage] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.X)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Let ``numpy.asarray(features)`` and scikit-learn take the matrix."""
        return np.array(self.X, dtype=dtype, copy=copy)


def extract(
    model: "str | Backbone",
    paths: Iterable[str | os.PathLike[str]],
    *,
    engine: str = "auto",
    precision: str = "fp32",
    skip_unreadable: bool = False,
) -> Features:
    """Compute a pretrained CNN's features of images.

    Parameters
    ----------
    model : str or Backbone
        A backbone, or a name for :func:`zoo.load`.
    paths : iterable of paths
        The images.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    skip_unreadable : bool, optional
        Leave out images that cannot be read, and list them, instead of raising.

    Returns
    -------
    Features

    Raises
    ------
    UnreadableImage
        If an image cannot be read and `skip_unreadable` is false.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from pathlib import Path
    >>> import sklearn.datasets
    >>> folder = Path(sklearn.datasets.__file__).parent / "images"
    >>> extract("efficientnet_lite0", [folder / "china.jpg", folder / "flower.jpg"]).X.shape
    (2, 1280)
    """
    from zoo.backbone import load

    backbone = load(model) if isinstance(model, str) else model
    space = BackboneSpace(backbone, engine, precision)
    found = compute([Path(path) for path in paths], [space])
    if found.skipped and not skip_unreadable:
        raise next(iter(found.skipped.values()))
    return Features(found.matrices[0], found.paths, found.digests, space.identity, found.skipped)


def compute(paths: Sequence[Path], spaces: Sequence[Space]) -> Extraction:
    """Compute several spaces over the same images, taking from the store what is there.

    Parameters
    ----------
    paths : sequence of Path
        The images; the same content in two places is computed once.
    spaces : sequence of Space
        What to compute of each.

    Returns
    -------
    Extraction
        An image that cannot be read costs only itself.
    """
    stores = [FeatureStore(space.identity, space.width) for space in spaces]
    try:
        return _compute(paths, spaces, stores)
    except DamagedRecord:
        # The stores have forgotten what was damaged, so it is computed anew.
        return _compute(paths, spaces, stores)


def _compute(paths: Sequence[Path], spaces: Sequence[Space], stores: Sequence[FeatureStore]) -> Extraction:
    digests, skipped = _digests(paths)
    by_digest: dict[str, int] = {}
    for place, digest in digests.items():
        by_digest.setdefault(digest, place)
    missing = [store.missing(list(by_digest)) for store in stores]
    work = [place for digest, place in by_digest.items() if any(digest in lacking for lacking in missing)]
    faults = _fill(paths, digests, work, spaces, stores, missing)
    for place, digest in digests.items():
        if (first := by_digest[digest]) in faults:
            skipped[place] = UnreadableImage(str(paths[place]), faults[first].reason, faults[first].next_step)
    kept = [place for place in digests if place not in skipped]
    kept_digests = [digests[place] for place in kept]
    return Extraction(
        paths=[paths[place] for place in kept],
        digests=kept_digests,
        kept=np.array(kept, dtype=np.int64),
        matrices=[store.take(kept_digests) for store in stores],
        skipped=dict(sorted(skipped.items())),
        computed=len(work) - len(faults),
    )


def _digests(paths: Sequence[Path]) -> tuple[dict[int, str], dict[int, UnreadableImage]]:
    """SHA-256 of every file, by place, and why some could not be read."""

    def digest(path: Path) -> str | UnreadableImage:
        try:
            return hashlib.sha256(read_file(path)).hexdigest()
        except UnreadableImage as error:
            return error

    digests: dict[int, str] = {}
    skipped: dict[int, UnreadableImage] = {}
    with ThreadPoolExecutor(threads()) as pool:
        for place, result in enumerate(_ordered(pool, digest, paths, ahead=64)):
            if isinstance(result, str):
                digests[place] = result
            else:
                skipped[place] = result
    return digests, skipped


def _fill(
    paths: Sequence[Path],
    digests: dict[int, str],
    work: Sequence[int],
    spaces: Sequence[Space],
    stores: Sequence[FeatureStore],
    missing: Sequence[set[str]],
) -> dict[int, UnreadableImage]:
    """Compute what the stores lack; return why some images could not be read."""

    def decode(place: int) -> list[NDArray[np.uint8] | None] | UnreadableImage:
        path, digest = paths[place], digests[place]
        try:
            content = read_file(path)
            if hashlib.sha256(content).hexdigest() != digest:
                raise UnreadableImage(str(path), "changed while it was read", "Run the command again.")
            image = open_image(content, str(path))
            return [
                space.prepare(image) if digest in lacking else None
                for space, lacking in zip(spaces, missing, strict=True)
            ]
        except UnreadableImage as error:
            return error

    faults: dict[int, UnreadableImage] = {}
    batches = [_Batch(space, store) for space, store in zip(spaces, stores, strict=True)]
    with ThreadPoolExecutor(threads()) as pool, progress("features", len(work)) as advance:
        for place, result in zip(work, _ordered(pool, decode, work, ahead=2 * BATCH), strict=True):
            if isinstance(result, UnreadableImage):
                faults[place] = result
            else:
                for batch, pixels in zip(batches, result, strict=True):
                    if pixels is not None:
                        batch.add(digests[place], pixels)
            advance(1)
        for batch in batches:
            batch.flush()
    return faults


class _Batch:
    """Collects prepared images until there are enough to run, then stores their features."""

    def __init__(self, space: Space, store: FeatureStore) -> None:
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


def _ordered(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Map in threads, in order, never more than `ahead` results in memory."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def threads() -> int:
    """Threads for decoding: as many as there are cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
