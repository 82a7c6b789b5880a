"""Images that a caller has in memory: Pillow's, and arrays of pixels, beside paths of files."""

import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.images.decode import ContentInMemory, upright_rgb

__all__ = ["ImageInMemory", "image_sources"]

#: Pillow reads a file when its pixels are first needed, which no two threads may do at once.
_LOADING = Lock()

_SHAPES = "(height, width), (height, width, 3) or (height, width, 4)"


class ImageInMemory(ContentInMemory):
    """An image in memory, to be given wherever a path is.

    Its content is that of an uncompressed file of its pixels, so that the features of two images with the
    same pixels are computed once.

    Parameters
    ----------
    image : PIL.Image.Image or (height, width[, channels]) uint8 array
        Grey, RGB, or RGB with transparency.
    name : str
        What an error calls it.

    Raises
    ------
    TypeError
        If an array holds anything but uint8.
    ValueError
        If its shape is not that of an image.
    """

    def __init__(self, image: Image.Image | NDArray[np.uint8], name: str) -> None:
        if isinstance(image, np.ndarray):
            _check(image, name)
        self._image = image
        self._name = name

    def __str__(self) -> str:
        return self._name

    def content(self) -> bytes:
        """Return its pixels as a Netpbm file, upright and without transparency, as a file's would be read."""
        image = self._image
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
        with _LOADING:
            rgb = upright_rgb(image, self._name)
        return f"P6 {rgb.width} {rgb.height} 255\n".encode() + rgb.tobytes()


def image_sources(X: Any) -> list[Path | ImageInMemory]:
    """Return what images are read from.

    Parameters
    ----------
    X : sequence, array, or column of a data frame
        Paths, Pillow's images, or uint8 arrays, (height, width, 3); or one array of n images of one size,
        (n, height, width, 3).

    Returns
    -------
    list of Path or ImageInMemory

    Raises
    ------
    TypeError
        If it is a single path or image, or holds anything else.
    ValueError
        If there are none, they have several columns, or an array is not of an image's shape.

    Examples
    --------
    >>> [str(source) for source in image_sources(["a.jpg", np.zeros((4, 4, 3), np.uint8)])]
    ['a.jpg', 'image 1']
    """
    sources = [_source(item, place) for place, item in enumerate(_items(X))]
    if not sources:
        raise ValueError("Found 0 samples: give at least one image.")
    return sources


def _items(X: Any) -> Iterable[Any]:
    if isinstance(X, (str, bytes, os.PathLike, Image.Image)):
        raise TypeError("Images are given as a list: put the one path or image into brackets.")
    if hasattr(X, "to_numpy"):  # a column or a frame of pandas or Polars
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUST":
        if X.ndim > 1 and X.shape[1:] != (1,):
            raise ValueError(f"Images are one column of paths, and this array has the shape {X.shape}.")
        return X.ravel().tolist()
    if isinstance(X, np.ndarray) and X.ndim < 3:
        raise TypeError(
            f"Images are paths, Pillow's images or uint8 arrays of pixels, not an array of shape {X.shape}."
        )
    items: Iterable[Any] = X
    return items


def _source(item: Any, place: int) -> Path | ImageInMemory:
    if isinstance(item, (str, os.PathLike)):
        return Path(item)
    if isinstance(item, (Image.Image, np.ndarray)):
        return ImageInMemory(item, f"image {place}")
    raise TypeError(
        f"Image {place} is a {type(item).__name__}; give a path, one of Pillow's images, or a uint8 array."
    )


def _check(pixels: NDArray[Any], name: str) -> None:
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"The pixels of {name} are {pixels.dtype}; give uint8 from 0 to 255: `(x * 255).astype('uint8')`."
        )
    grey = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1)
    if not (grey or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or 0 in pixels.shape:
        raise ValueError(f"{name} has the shape {pixels.shape}; give {_SHAPES}.")
