"""A batch of real photographs that is always the same: what engines are compared and timed on.

Cut from the two photographs that scikit-learn brings along, a temple under a smooth sky and a flower.
Noise will not do: low precision hurts most where a picture is smooth. And other cuts of them, darker and
brighter too, for whatever has to be fitted before it is compared.
"""

from functools import lru_cache
from importlib.metadata import distribution

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from zoo.images.decode import open_image
from zoo.images.preprocess import Preprocess

__all__ = ["calibration_photographs", "photographs"]


@lru_cache(maxsize=1)
def photographs(preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return `BATCH` different images as a backbone expects them, alternating between the two photographs."""
    wholes = _wholes()
    half = [_windows(whole, 0.5) for whole in wholes]  # Windows of half a photograph's sides.
    return np.stack([preprocess(window) for pair in zip(*half, strict=True) for window in pair])


def calibration_photographs(preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return twice `BATCH` images, none of which is one of `photographs`.

    Mirrored windows of other sizes, a quarter of them darker and a quarter brighter.
    """
    images = []
    for whole in _wholes():
        for share in (0.4, 0.75):
            for place, window in enumerate(_windows(whole, share)):
                brightness = (1.0, 0.5, 1.0, 1.5)[place % 4]
                mirrored = ImageOps.mirror(window)
                images.append(preprocess(ImageEnhance.Brightness(mirrored).enhance(brightness)))
    return np.stack(images)


def _wholes() -> list[Image.Image]:
    files = distribution("scikit-learn")
    names = ("china", "flower")
    return [open_image(str(files.locate_file(f"sklearn/datasets/images/{name}.jpg"))) for name in names]


def _windows(whole: Image.Image, share: float) -> list[Image.Image]:
    """Windows of a share of a photograph's sides, in a 4 x 4 grid over it."""
    width, height = int(whole.width * share), int(whole.height * share)
    corners = [
        ((whole.width - width) * column // 3, (whole.height - height) * row // 3)
        for row in range(4)
        for column in range(4)
    ]
    return [whole.crop((left, top, left + width, top + height)) for left, top in corners]
