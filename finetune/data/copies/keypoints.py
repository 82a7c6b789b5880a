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
_SEARCHED = 320
#: Long side of the grey picture that is kept.
SIDE = 160
_MOST = 400
_FOUND = 1000  # before they are thinned out where they are dense
_CELLS = 8
#: Least difference of brightness of a corner: low, for radiographs and textures have soft ones.
_FAST = 5

#: What kept keypoints depend on besides the image, for cache keys. Raise the number when the code changes.
METHOD = f"ORB {_MOST} of {_FOUND} at {_SEARCHED}, FAST {_FAST}, grey at {SIDE}, 1"

_RECORD = np.dtype(
    [
        ("height", np.uint8),
        ("width", np.uint8),
        ("count", np.uint16),
        ("drawing", np.uint8),
        ("grey", np.uint8, (SIDE * SIDE,)),
        ("places", np.float32, (_MOST, 2)),
        ("plain", np.uint8, (_MOST, 32)),
        ("mirrored", np.uint8, (_MOST, 32)),
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
    plain, mirrored : (k, 32) uint8 array
        What they look like, 256 bits each, in the picture and in its mirror image (left to right). The
        most telling ones first.
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
    picture = _scaled(image.convert("L"), _SEARCHED)
    kept = _scaled(image.convert("L"), SIDE)
    # An object of its own: they are not meant to be shared between threads.
    orb = cv2.ORB.create(_FOUND, fastThreshold=_FAST)
    points, plain = orb.compute(picture, _spread(orb.detect(picture, None), picture.shape))
    mirrored_points = [
        cv2.KeyPoint(
            picture.shape[1] - 1 - p.pt[0], p.pt[1], p.size, (180 - p.angle) % 360, p.response, p.octave
        )
        for p in points
    ]
    same, mirrored = orb.compute(np.ascontiguousarray(picture[:, ::-1]), mirrored_points)
    if plain is None or mirrored is None or len(same) != len(points):
        empty = np.empty((0, 32), np.uint8)
        return Keypoints(kept, np.empty((0, 2), np.float32), empty, empty, _is_drawing(kept))
    places = np.array([p.pt for p in points], np.float32).reshape(-1, 2)
    scale = np.array([kept.shape[1] / picture.shape[1], kept.shape[0] / picture.shape[0]], np.float32)
    return Keypoints(kept, (places + 0.5) * scale - 0.5, plain, mirrored, _is_drawing(kept))


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
        record[name][:count] = getattr(keypoints, name)
    return np.frombuffer(record.tobytes(), np.uint8)


def unpack(row: NDArray[np.uint8]) -> Keypoints:
    """Return what was packed."""
    record = np.frombuffer(row.tobytes(), _RECORD)[0]
    height, width, count = int(record["height"]), int(record["width"]), int(record["count"])
    return Keypoints(
        record["grey"][: height * width].reshape(height, width),
        record["places"][:count],
        record["plain"][:count],
        record["mirrored"][:count],
        bool(record["drawing"]),
    )


def _scaled(grey: Image.Image, side: int) -> NDArray[np.uint8]:
    """Resize a picture so that its longer side has so many pixels."""
    factor = side / max(grey.size)
    size = (max(1, round(grey.width * factor)), max(1, round(grey.height * factor)))
    return np.array(grey.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR))


def _spread(points: Sequence[cv2.KeyPoint], shape: tuple[int, int]) -> list[cv2.KeyPoint]:
    """Take the strongest of each cell of a grid in turn: a text must not have all keypoints for itself."""
    points = sorted(points, key=lambda p: (-p.response, p.pt, p.octave))
    taken = [0] * _CELLS**2
    ranks = []
    for point in points:
        cell = int(point.pt[1] * _CELLS / shape[0]) * _CELLS + int(point.pt[0] * _CELLS / shape[1])
        ranks.append(taken[cell])
        taken[cell] += 1
    order = sorted(range(len(points)), key=ranks.__getitem__)[:_MOST]
    return [points[i] for i in order]


def _is_drawing(grey: NDArray[np.uint8]) -> bool:
    """Whether 8 of 64 shades make up three quarters of a picture, and much of what is not background."""
    low, high = np.percentile(grey, [1, 99])
    shades = (np.clip(grey, low, high) - low) * (63 / max(high - low, 1))
    shares = np.sort(np.bincount(shades.astype(np.int64).ravel(), minlength=64))[::-1] / grey.size
    return bool(shares[:8].sum() >= 0.75 and shares[1:8].sum() >= 0.38 * (1 - shares[0]))
