"""What the checks compute of images besides features; kept in the store like them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.features.spaces import BackboneSpace
from zoo.images.decode import Box

__all__ = ["ImageSizes", "SwappedChannels"]


class ImageSizes:
    """An image's width and height in pixels."""

    width = 2
    identity: dict[str, Any] = {"pixels": "width and height"}  # noqa: RUF012 (a protocol's attribute)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return both numbers as the bytes that a space works on."""
        return np.array(image.size, np.uint32).view(np.uint8)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn them, (n, 8) bytes, into (n, 2) numbers."""
        return np.ascontiguousarray(batch).view(np.uint32).astype(np.float32)


class SwappedChannels:
    """A backbone's features of images with red and blue exchanged, decoded at the same scale.

    Parameters
    ----------
    space : BackboneSpace
        What computes them.
    """

    def __init__(self, space: BackboneSpace) -> None:
        self.width = space.width
        self._space = space

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the features depend on besides the image."""
        return {**self._space.identity, "channels": "blue, green, red"}

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: 1, 2, 4 or 8."""
        return self._space.reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Turn an RGB image into what the network expects, with the channels in reverse."""
        return np.ascontiguousarray(self._space.prepare(image, box)[..., ::-1])

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn a batch of images into features."""
        return self._space.run(batch)
