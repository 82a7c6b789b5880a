"""Which pictures are as good as the same, by their colours on 32 x 32 pixels.

After subtracting each picture's mean and dividing by its norm, the product of two pictures is their
correlation; a picture is compared with the others' mirror images too. docs/check.md has measurements.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIKE", "alike", "repeated", "unit"]

#: Correlation from which two pictures count as the same.
ALIKE = 0.97

_BLOCK = 1024


def alike(pixels: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
    """Find pairs of pictures that are as good as the same, or as each other's mirror image.

    Parameters
    ----------
    pixels : (n, 3072) float32 array
        Colours on 32 x 32 pixels.

    Yields
    ------
    int, int, float
        Places of two pictures, the first before the second, and their correlation.
    """
    mirrored = pixels.reshape(-1, 32, 32, 3)[:, :, ::-1].reshape(len(pixels), -1)
    P, M = (unit(rows - rows.mean(axis=1, keepdims=True)) for rows in (pixels, mirrored))
    for start in range(0, len(pixels), _BLOCK):
        some = slice(start, start + _BLOCK)
        correlations = np.maximum(P[some] @ P[start:].T, P[some] @ M[start:].T)
        for i, j in np.argwhere(correlations >= ALIKE):
            if i < j:
                yield start + int(i), start + int(j), float(min(correlations[i, j], 1))


def repeated(pixels: NDArray[np.float32]) -> set[int]:
    """Return the places of pictures that are like an earlier one which is not among them."""
    earlier: dict[int, list[int]] = {}
    for first, second, _ in alike(pixels):
        earlier.setdefault(second, []).append(first)
    found: set[int] = set()
    for place in sorted(earlier):
        if not found.issuperset(earlier[place]):
            found.add(place)
    return found


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows divided by their lengths; those of next to no length as they are."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))
