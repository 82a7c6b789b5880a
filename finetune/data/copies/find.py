"""The search for images that show one thing: candidates, then comparisons, then connected groups."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from finetune.data.copies import verify
from finetune.data.copies.candidates import Candidates, candidates
from finetune.data.copies.copies import Components, Copies, Kind, Pair
from finetune.data.copies.kept import KeptKeypoints, KeptResults, Result, same_pixels
from zoo.parallel import in_order
from zoo.progress import progress

__all__ = ["find_copies"]

# Cosine of features from which two pictures may be equal in all pixels.
_EQUAL = 0.998
# How many comparisons are begun before the first one's result is used. A constant: which pairs are skipped,
# because their images are connected already, must not depend on the number of threads.
_AHEAD = 16


def find_copies(
    paths: Sequence[Path], digests: Sequence[str], X: NDArray[np.float32], pixels: NDArray[np.float32]
) -> Copies:
    """Find the images that show one thing, and the groups that they make.

    The result does not depend on the order of the images, on what is kept from earlier runs, or on the
    number of threads.

    Parameters
    ----------
    paths : sequence of Path
        n images.
    digests : sequence of str
        SHA-256 of their bytes, in hexadecimal.
    X : (n, d) float32 array
        A CNN's features of them.
    pixels : (n, 3072) float32 array
        Their colours on 32 x 32 pixels, as `zoo.spaces.RawPixels` gives them.

    Returns
    -------
    Copies

    Raises
    ------
    UnreadableImage
        If an image cannot be read any more.
    CacheError
        If keypoints and results cannot be kept.
    """
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        first.setdefault(digest, place)
    same_bytes = [(first[digest], place) for place, digest in enumerate(digests) if first[digest] != place]
    pairs = [Pair(a, b, "bytes", 1.0) for a, b in same_bytes]
    # By digest, so that nothing depends on the order in which the images were given.
    places = [first[digest] for digest in sorted(first)]
    for a, b, result in _similar([paths[i] for i in places], sorted(first), X[places], pixels[places]):
        one, other = sorted((places[a], places[b]))
        pairs.append(Pair(one, other, cast(Kind, result.kind), result.score))
    groups = Components(len(paths))
    for pair in pairs:
        groups.connect(pair.a, pair.b)
    return Copies(tuple(sorted(pairs, key=lambda pair: (pair.a, pair.b))), groups.labels())


def _similar(
    paths: Sequence[Path], digests: Sequence[str], X: NDArray[np.float32], pixels: NDArray[np.float32]
) -> Iterator[tuple[int, int, Result]]:
    """Yield the pairs of different files that are copies, as many as connect them."""
    near = candidates(X, pixels)
    pairs: list[tuple[int, int]] = [(int(a), int(b)) for a, b in near.pairs]
    kept = KeptResults([(digests[a], digests[b]) for a, b in pairs])
    keypoints = KeptKeypoints(paths, digests)
    groups = Components(len(paths))
    with _one_thread_each():
        keypoints.compute(sorted({i for k, pair in enumerate(pairs) if kept[k] is None for i in pair}))
        results = in_order(_compare, _work(paths, near, pairs, kept, keypoints, groups), _AHEAD)
        with progress("comparing", len(pairs), "pairs") as advance, closing(results), closing(kept):
            reached = 0
            for k, result in results:
                advance(k + 1 - reached)
                reached = k + 1
                if kept[k] is None:
                    kept.add(k, result)
                if result.kind and groups.connect(*pairs[k]):
                    yield *pairs[k], result


# A pair's place, and either its result or what is needed to find it.
_Work = tuple[int, Result | None, tuple[Any, ...]]


def _work(
    paths: Sequence[Path],
    near: Candidates,
    pairs: Sequence[tuple[int, int]],
    kept: KeptResults,
    keypoints: KeptKeypoints,
    groups: Components,
) -> Iterator[_Work]:
    """Yield what there is to do, pair by pair, without those whose images are connected by then."""
    for k, (a, b) in enumerate(pairs):
        if groups.root(a) == groups.root(b):
            continue
        if (result := kept[k]) is not None:
            yield k, result, ()
            continue
        maybe_equal = (paths[a], paths[b]) if near.cosines[k] >= _EQUAL else None
        yield k, None, (maybe_equal, keypoints.get(a), keypoints.get(b), int(near.orientations[k]))


def _compare(work: _Work) -> tuple[int, Result]:
    """Compare two images, in any thread."""
    k, result, needed = work
    if result is not None:
        return k, result
    maybe_equal, a, b, orientation = needed
    if maybe_equal and same_pixels(*maybe_equal):
        return k, Result("pixels", 1.0)
    overlay = verify.compare(a, b, orientation)
    if overlay is None:
        return k, Result("", 0.0)
    # Rounded as it will be kept, so that a second run has the same score.
    return k, Result("scene", float(np.float32(overlay.agree)))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep OpenCV from starting threads of its own inside ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
