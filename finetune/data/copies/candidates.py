"""Which pairs of images are near enough to be looked at: everything else is never opened.

Two descriptions of an image complement each other. A CNN's features change little when an image is cropped
or turned by some degrees, but much when a small image loses detail (JPEG, scaling) or stands on its side.
The low frequencies of its brightness, as perceptual hashes use them (Zauner 2010, "Implementation and
benchmarking of perceptual image hash functions"), are the other way round: they survive all changes that
leave the picture's frame where it is, and the eight ways to turn and mirror a picture only change signs and
order of the coefficients. docs/copies.md has the measurements behind the limits below.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ORIENTATIONS", "Candidates", "candidates", "orient", "signatures"]

#: Transposed, then mirrored top to bottom, then left to right: the eight ways a picture can lie.
ORIENTATIONS = tuple((t, v, h) for t in (False, True) for v in (False, True) for h in (False, True))

# Cosine of features from which two images are near, and how many an image may have.
_FEATURES, _MOST_BY_FEATURES = 0.80, 4
# Correlation of low frequencies: of the whole pictures in any orientation, and of one picture with the
# middle of the other.
_WHOLE, _MOST_BY_WHOLE = 0.80, 2
_MIDDLE, _MOST_BY_MIDDLE = 0.85, 1
# The middle has this share of the sides: between crops of 5% and of 10% a side.
_MIDDLE_SIDE = 0.85
_FREQUENCIES = 8
_BLOCK = 512


@dataclass(frozen=True)
class Candidates:
    """Pairs of images that may show one thing, the nearest first.

    Attributes
    ----------
    pairs : (m, 2) int array
        Places of two images, the first before the second.
    orientations : (m,) int array
        In which of `ORIENTATIONS` the first picture as a whole looks like the second; -1 where it does in
        none.
    cosines : (m,) float32 array
        Of their features.
    """

    pairs: NDArray[np.int64]
    orientations: NDArray[np.int64]
    cosines: NDArray[np.float32]


def candidates(X: NDArray[np.float32], pixels: NDArray[np.float32]) -> Candidates:
    """Find the pairs that are near by features or by low frequencies.

    Parameters
    ----------
    X : (n, d) float32 array
        Features.
    pixels : (n, 3072) float32 array
        Colours on 32 x 32 pixels.

    Returns
    -------
    Candidates
        At most 8 pairs for each image. Memory: a copy of `X` and some blocks of 512 x n numbers.
    """
    U = _unit(X)
    whole, middle = signatures(pixels)
    oriented = np.stack([_turned(whole, o).reshape(len(whole), -1) for o in ORIENTATIONS])
    flat, centre = oriented[0], middle.reshape(len(middle), -1)
    near = [
        *_nearest([U], U, _FEATURES, _MOST_BY_FEATURES),
        *_nearest(list(oriented), flat, _WHOLE, _MOST_BY_WHOLE),
        *_nearest([centre], flat, _MIDDLE, _MOST_BY_MIDDLE),
        *_nearest([flat], centre, _MIDDLE, _MOST_BY_MIDDLE),
    ]
    pairs = np.unique(np.sort(np.concatenate(near), axis=1), axis=0) if near else np.empty((0, 2), np.int64)
    cosines, likeness, orientations = _measured(pairs, U, oriented)
    # The nearest first, so that most pairs of a group are connected before they are looked at.
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -np.maximum(cosines, likeness)))
    found = np.where(likeness >= _WHOLE, orientations, -1)
    return Candidates(pairs[order], found[order], cosines[order])


def signatures(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Describe images by the low frequencies of their brightness.

    Parameters
    ----------
    pixels : (n, 3072) float32 array
        Colours on 32 x 32 pixels.

    Returns
    -------
    two (n, 8, 8) float32 arrays
        Of the whole pictures and of their middles: cosine transform, each coefficient times its frequency
        (which evens out that natural pictures have little of the high ones), divided by the norm; nothing
        where a picture is of one colour.
    """
    grey = pixels.reshape(-1, 32, 32, 3) @ np.array([0.299, 0.587, 0.114], np.float32)
    enlarge = cv2.getRotationMatrix2D((15.5, 15.5), 0, 1 / _MIDDLE_SIDE)
    middle = np.empty_like(grey)
    for place, picture in enumerate(grey):
        middle[place] = cv2.warpAffine(picture, enlarge, (32, 32), flags=cv2.INTER_LINEAR)
    return _frequencies(grey), _frequencies(middle)


def orient(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn or mirror a picture, (height, width), into one of `ORIENTATIONS`."""
    transposed, upside_down, mirrored = ORIENTATIONS[orientation]
    picture = picture.T if transposed else picture
    return picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _frequencies(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighted low frequencies of (n, 32, 32) pictures, of norm 1."""
    k, x = np.mgrid[:_FREQUENCIES, :32]
    basis = np.cos(np.pi * (x + 0.5) * k / 32).astype(np.float32)  # the cosine transform, type II
    weights = np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES]).astype(np.float32)
    found = weights * (basis @ grey @ basis.T)
    norms = np.sqrt(np.square(found).sum(axis=(1, 2), keepdims=True))
    # A picture of one colour has rounding errors only.
    return np.where(norms > 0.01, found / np.maximum(norms, 0.01), 0).astype(np.float32)


def _turned(found: NDArray[np.float32], orientation: tuple[bool, bool, bool]) -> NDArray[np.float32]:
    """Low frequencies of turned or mirrored pictures: odd ones change their sign."""
    transposed, upside_down, mirrored = orientation
    signs = np.where(np.arange(_FREQUENCIES) % 2, -1, 1).astype(np.float32)
    found = found.transpose(0, 2, 1) if transposed else found
    found = found * signs[:, None] if upside_down else found
    return found * signs if mirrored else found


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-6))


def _nearest(
    variants: list[NDArray[np.float32]], others: NDArray[np.float32], least: float, most: int
) -> Iterator[NDArray[np.int64]]:
    """Yield pairs of places whose product, of any variant of the one with the other, is `least` or more.

    Not more than `most` for each row, and none of a row with itself.
    """
    for start in range(0, len(others), _BLOCK):
        rows = slice(start, start + _BLOCK)
        products = variants[0][rows] @ others.T
        for variant in variants[1:]:
            np.maximum(products, variant[rows] @ others.T, out=products)
        places = np.arange(len(products))
        products[places, start + places] = -1
        near = products >= least
        for place in np.flatnonzero(near.sum(axis=1) > most):
            found = np.flatnonzero(near[place])
            # A stable sort: which of equals are taken must not depend on the machine.
            near[place, found[np.argsort(-products[place, found], kind="stable")[most:]]] = False
        found_rows, columns = np.nonzero(near)
        yield np.stack([start + found_rows, columns], axis=1)


def _measured(
    pairs: NDArray[np.int64], U: NDArray[np.float32], oriented: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Cosine of the features, likeness of the low frequencies and the orientation of it, a pair each."""
    cosines, likeness = np.empty(len(pairs), np.float32), np.empty(len(pairs), np.float32)
    orientations = np.empty(len(pairs), np.int64)
    for start in range(0, len(pairs), _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = pairs[part].T
        cosines[part] = np.einsum("ij,ij->i", U[first], U[second])
        products = np.einsum("oij,ij->oi", oriented[:, first], oriented[0, second])
        orientations[part] = products.argmax(axis=0)
        likeness[part] = products.max(axis=0)
    return cosines, likeness, orientations
