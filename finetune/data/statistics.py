"""Simple statistics of an image: size, brightness, contrast, colour, sharpness, how much is in it.

They are computed from the same decoding as the features, cost about half a millisecond an image, and are
stored like features.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.features.spaces import Space
from zoo.images.decode import Box

__all__ = ["COLUMNS", "MAX_COLOURS", "ImageStatistics", "column"]

#: What a row of :class:`ImageStatistics` holds.
#:
#: ``width``, ``height``
#:     In pixels, as decoded: a JPEG larger than 1,024 pixels on its short side is decoded at a fraction of
#:     its size, which leaves at least 512.
#: ``n_colours``
#:     Distinct colours; :data:`MAX_COLOURS` + 1 stands for more.
#: ``top_colours``
#:     Share of the image that the four commonest colours cover, from 0 to 1.
#: ``dark_end``, ``bright_end``
#:     Brightness that 1% of the pixels are below or above, from 0 to 1.
#: ``colour``
#:     Largest minus smallest colour channel, which 95% of the pixels are below, from 0 to 1; 0 is grey.
#: ``sharpness``
#:     Strength of the steepest edges: what 0.5% of the pixels exceed in the absolute value of the Laplacian
#:     at 256 pixels on the short side, divided by the image's contrast. An edge between two pixels gives 1,
#:     a ramp over k pixels 1 / k, a step blurred by a Gaussian of s pixels about 0.24 / s^2.
#: ``content``
#:     Share of the image that differs from its commonest brightness, from 0 to 1.
#: ``pixel_size``
#:     Smallest distance between rows, and between columns, at which the image changes; the smaller of the
#:     two, and 1 where it changes at fewer than eight. An image enlarged k times by repeating pixels has k.
COLUMNS = (
    "width",
    "height",
    "n_colours",
    "top_colours",
    "dark_end",
    "bright_end",
    "colour",
    "sharpness",
    "content",
    "pixel_size",
)

MAX_COLOURS = 16

_SIDE = 256  # at which sharpness is measured: about what most CNNs see
_SAMPLE = 64  # pixels a side that colours are taken from
_ROUNDING = 4  # levels that rounding to whole ones can add to the Laplacian: 8 times half a level
_CHANGES = 8  # lines that must differ from the one before, or nothing is said of pixels' sizes
_NEAR = 6  # levels of 255 within which a pixel counts as the background's


def column(rows: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return one of the statistics of several images.

    Parameters
    ----------
    rows : (n, width) array
        As computed by :class:`ImageStatistics`.
    name : str
        One of :data:`COLUMNS`.

    Returns
    -------
    (n,) array
    """
    return rows[:, COLUMNS.index(name)]


class ImageStatistics(Space):
    """A row of :data:`COLUMNS` for each image."""

    width = len(COLUMNS)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""
        return {"statistics": COLUMNS, "edition": 3}

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: 1, 2, 4 or 8."""
        possible = min(width, height) // (2 * _SIDE)
        return next((factor for factor in (8, 4, 2) if factor <= possible), 1)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Compute the statistics of an RGB image, as the bytes that :meth:`run` takes."""
        grey = image.convert("L")
        left, top, right, bottom = box or (0, 0, *image.size)
        top_colours, colour = _colours(image)
        dark_end, bright_end, content = _brightness(np.array(grey.histogram()))
        n_colours = len(image.getcolors(MAX_COLOURS) or range(MAX_COLOURS + 1))
        row = [
            right - left, bottom - top, n_colours, top_colours, dark_end, bright_end, colour,
            _sharpness(grey, bright_end - dark_end), content, _pixel_size(np.asarray(grey)),
        ]  # fmt: skip
        return np.array(row, np.float32).view(np.uint8)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn the bytes of images into rows, (n, width)."""
        return np.ascontiguousarray(batch).view(np.float32)


def _colours(image: Image.Image) -> tuple[float, float]:
    """Share of the four commonest colours, and how colourful the image is."""
    sample = np.asarray(image.resize((_SAMPLE, _SAMPLE), Image.Resampling.NEAREST)).reshape(-1, 3)
    codes = sample.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    counts = np.sort(np.unique(codes, return_counts=True)[1])
    red, green, blue = sample.T  # twenty times as fast as max(axis=1)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    below = np.cumsum(np.bincount(spread)) / len(spread)
    return float(counts[-4:].sum() / len(sample)), float(np.searchsorted(below, 0.95) / 255)


def _brightness(histogram: NDArray[np.int64]) -> tuple[float, float, float]:
    """The dark and the bright end, and the share that is not the background."""
    below = np.cumsum(histogram) / histogram.sum()
    dark, bright = np.searchsorted(below, [0.01, 0.99]).tolist()
    mode = int(histogram.argmax())
    background = histogram[max(mode - _NEAR, 0) : mode + _NEAR + 1].sum() / histogram.sum()
    return dark / 255, bright / 255, float(1 - background)


def _sharpness(grey: Image.Image, contrast: float) -> float:
    """The steepest edges, relative to the contrast; 1 where there is nothing to be sharp."""
    short = min(grey.size)
    if contrast < 16 / 255 or short < 3:
        return 1.0
    if short > _SIDE:
        size = tuple(max(1, round(side * _SIDE / short)) for side in grey.size)
        grey = grey.resize((size[0], size[1]), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    inner = pixels[1:-1, 1:-1]
    edges = np.abs(4 * inner - pixels[:-2, 1:-1] - pixels[2:, 1:-1] - pixels[1:-1, :-2] - pixels[1:-1, 2:])
    below = np.cumsum(np.bincount(edges.ravel())) / edges.size
    steepest = max(int(np.searchsorted(below, 0.995)) - _ROUNDING, 0)
    return steepest / (255 * contrast)


def _pixel_size(pixels: NDArray[np.uint8]) -> int:
    """The smallest distance between lines at which the image changes, over both directions."""
    sizes = []
    for lines in (pixels, pixels.T):
        changes = np.flatnonzero((lines[1:] != lines[:-1]).any(axis=1))
        sizes.append(int(np.diff(changes).min()) if len(changes) >= _CHANGES else 1)
    return min(sizes)
