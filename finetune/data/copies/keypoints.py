"""What is kept of an image to compare it with others: keypoints, and a small grey picture.

ORB (Rublee et al. 2011, "ORB: an efficient alternative to SIFT or SURF") finds corners at several scales and
describes each by 256 comparisons of brightness in a patch that is turned to the corner's direction. Mirrored
corners have other descriptions, so those are kept beside the plain ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["METHOD", "SIDE", "WIDTH", "Keypoints", "describe", "pack", "reduction", "unpack"]

#: Long side of the picture in which keypoints are found, in pixels; small pictures are enlarged to it.
_SEARCHED = 240
#: Long side of the grey picture that is kept.
SIDE = 160
_MOST = 400
#: Of so many, the most telling ones, the mirror image is described too.
MIRRORED = 100
_FOUND = 600  # before they are thinned out where they are dense
_LEVELS, _STEP = 6, 1.25  # scales at which they are found
_CELLS = 8
#: Least difference of brightness of a corner: low, for radiographs and textures have soft ones.
_FAST = 5
_EDGE = 31  # pixels at the edges in which OpenCV looks for none: its default

#: What kept keypoints depend on besides the image, for cache keys. Raise the number when the code changes.
METHOD = (
    f"ORB {_MOST} ({MIRRORED} mirrored) of {_FOUND} at {_SEARCHED}, {_LEVELS} levels, FAST {_FAST}, "
    f"grey at {SIDE}, 2"
)

_RECORD = np.dtype(
    [
        ("height", np.uint8),
        ("width", np.uint8),
        ("count", np.uint16),
        ("drawing", np.uint8),
        ("grey", np.uint8, (SIDE * SIDE,)),
        ("places", np.float32, (_MOST, 2)),
        ("plain", np.uint8, (_MOST, 32)),
        ("mirrored", np.uint8, (MIRRORED, 32)),
    ]
)
#: Bytes of a packed image.
WIDTH = _RECORD.itemsize


@dataclass(frozen=True)
class Keypoints:
    """An image's keypoints and a small grey picture of it.

    Attributes
    ----------
    grey : (height, width) uint8 array
        The longer side is `SIDE`.
    places : (k, 2) float32 array
        Of the keypoints, right and down from the middle of the first pixel of `grey`.
    plain : (k, 32) uint8 array
        What they look like, 256 bits each. The most telling ones first.
    mirrored : (min(k, 100), 32) uint8 array
        What the first of them look like in the picture's mirror image (left to right).
    drawing : bool
        Whether it is a drawing (or a form, a chart, a screenshot): a few shades make up most of the picture,
        not only its background.
    """

    grey: NDArray[np.uint8]
    places: NDArray[np.float32]
    plain: NDArray[Any]
    mirrored: NDArray[Any]
    drawing: bool


def describe(image: Image.Image) -> Keypoints:
    """Find an image's keypoints.

    Parameters
    ----------
    image : PIL.Image.Image
        Upright, of mode ``RGB``.

    Returns
    -------
    Keypoints
        400 at most, spread over the picture; none where nothing has an edge.
    """
    whole = image.convert("L")
    picture, kept = _scaled(whole, _SEARCHED), _scaled(whole, SIDE)
    if min(picture.shape) <= 2 * _EDGE:  # too thin for any; OpenCV fails where a side shrinks to nothing
        return _without_keypoints(kept)
    # An object of its own: they are not meant to be shared between threads.
    orb = cv2.ORB.create(_FOUND, _STEP, _LEVELS, fastThreshold=_FAST)
    points, plain = _described(orb, picture, _spread(orb.detect(picture, None), picture.shape))
    mirrored_points = [
        cv2.KeyPoint(
            picture.shape[1] - 1 - p.pt[0], p.pt[1], p.size, (180 - p.angle) % 360, p.response, p.octave
        )
        for p in points[:MIRRORED]
    ]
    same, mirrored = _described(orb, np.ascontiguousarray(picture[:, ::-1]), mirrored_points)
    if len(same) != len(mirrored_points) or not points:
        return _without_keypoints(kept)
    scale = np.array([kept.shape[1] / picture.shape[1], kept.shape[0] / picture.shape[0]], np.float32)
    return Keypoints(kept, (_places(points) + 0.5) * scale - 0.5, plain, mirrored, _is_drawing(kept))


def _without_keypoints(grey: NDArray[np.uint8]) -> Keypoints:
    empty = np.empty((0, 32), np.uint8)
    return Keypoints(grey, np.empty((0, 2), np.float32), empty, empty, _is_drawing(grey))


def reduction(width: int, height: int) -> int:
    """Return how many times smaller a JPEG may be decoded for :func:`describe`: 1, 2, 4 or 8."""
    possible = max(width, height) // (2 * _SEARCHED)
    return next((factor for factor in (8, 4, 2) if factor <= possible), 1)


def pack(keypoints: Keypoints) -> NDArray[np.uint8]:
    """Return keypoints as `WIDTH` bytes."""
    record = np.zeros((), _RECORD)
    height, width = keypoints.grey.shape
    count = len(keypoints.places)
    record["height"], record["width"], record["count"] = height, width, count
    record["drawing"] = keypoints.drawing
    record["grey"][: height * width] = keypoints.grey.ravel()
    for name in ("places", "plain", "mirrored"):
        values = getattr(keypoints, name)
        record[name][: len(values)] = values
    return np.frombuffer(record.tobytes(), np.uint8)


def unpack(row: NDArray[np.uint8]) -> Keypoints:
    """Return what was packed."""
    record = np.frombuffer(row.tobytes(), _RECORD)[0]
    height, width, count = int(record["height"]), int(record["width"]), int(record["count"])
    return Keypoints(
        record["grey"][: height * width].reshape(height, width),
        record["places"][:count],
        record["plain"][:count],
        record["mirrored"][: min(count, MIRRORED)],
        bool(record["drawing"]),
    )


def _scaled(grey: Image.Image, side: int) -> NDArray[np.uint8]:
    """Resize a picture so that its longer side has so many pixels."""
    factor = side / max(grey.size)
    size = (max(1, round(grey.width * factor)), max(1, round(grey.height * factor)))
    if factor < 1:
        return np.array(grey.resize(size, Image.Resampling.BOX))
    # Enlarging is five times faster here, and differs by rounding only.
    return np.asarray(cv2.resize(np.asarray(grey), size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _described(
    orb: cv2.ORB, picture: NDArray[np.uint8], points: Sequence[cv2.KeyPoint]
) -> tuple[list[cv2.KeyPoint], NDArray[Any]]:
    """Describe keypoints, in their order: OpenCV puts them in that of their scales."""
    for place, point in enumerate(points):
        point.class_id = place
    found, rows = orb.compute(picture, points)
    order = np.argsort([point.class_id for point in found])
    return [found[i] for i in order], np.empty((0, 32), np.uint8) if rows is None else rows[order]


def _places(points: Sequence[cv2.KeyPoint]) -> NDArray[np.float32]:
    return np.asarray(cv2.KeyPoint.convert(points), np.float32).reshape(-1, 2)


def _spread(points: Sequence[cv2.KeyPoint], shape: tuple[int, int]) -> list[cv2.KeyPoint]:
    """Take the strongest of each cell of a grid in turn: a text must not have all keypoints for itself."""
    places = _places(points)
    octaves, weakness = np.array([(p.octave, -p.response) for p in points], float).reshape(-1, 2).T
    order = np.lexsort((octaves, places[:, 1], places[:, 0], weakness))
    columns, rows = (places[order] * _CELLS / (shape[1], shape[0])).astype(np.int64).T
    cells = rows * _CELLS + columns
    by_cell = np.argsort(cells, kind="stable")
    ranks = np.empty(len(order), np.int64)
    ranks[by_cell] = np.arange(len(order)) - np.searchsorted(cells[by_cell], cells[by_cell])
    return [points[i] for i in order[np.argsort(ranks, kind="stable")[:_MOST]]]


def _is_drawing(grey: NDArray[np.uint8]) -> bool:
    """Whether 8 of 64 shades make up three quarters of a picture, and much of what is not background."""
    counts = np.bincount(grey.ravel(), minlength=256)
    # Their first and last hundredth, by counts: much faster than percentiles.
    low, high = np.searchsorted(counts.cumsum(), [0.01 * grey.size, 0.99 * grey.size])
    shades = (np.clip(np.arange(256), low, high) - low) * (63 / max(high - low, 1))
    shares = np.sort(np.bincount(shades.astype(np.int64), counts, minlength=64))[::-1] / grey.size
    return bool(shares[:8].sum() >= 0.75 and shares[1:8].sum() >= 0.38 * (1 - shares[0]))
