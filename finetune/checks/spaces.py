"""What the checks compute of images besides features; kept in the store like these."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.features.spaces import BackboneSpace, Space
from zoo.images.decode import Box

__all__ = ["ImageSizes", "SwappedChannels"]


class ImageSizes(Space):
    """An image's width and height in pixels."""

    width = 2

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""
        return {"pixels": "width and height"}

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Write both numbers as the bytes that a space works on."""
        return np.array(image.size, np.uint32).view(np.uint8)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Read them, (n, 8) bytes, as (n, 2) numbers."""
        return np.ascontiguousarray(batch).view(np.uint32).astype(np.float32)


class SwappedChannels(Space):
    """A backbone's features of images whose red and blue are exchanged.

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

    @property
    def base(self) -> Space:
        """What computes the features."""
        return self._space

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: as for the others."""
        return self._space.reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Turn an RGB image into what the network expects, channels in reverse."""
        return np.ascontiguousarray(self._space.prepare(image, box)[..., ::-1])

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn a batch of images into features."""
        return self._space.run(batch)
