"""Features of mirror images, and the mean of both: an object is the same from its other side."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import ZooError
from zoo.features.spaces import BackboneSpace, Space
from zoo.images.decode import Box

__all__ = ["TTA", "Mirrored", "UnknownTTAError", "averaged", "check_tta"]

#: Test-time augmentations: what features are averaged over.
TTA = ("none", "mirror")


class UnknownTTAError(ZooError):
    """A test-time augmentation that does not exist."""


def check_tta(tta: str) -> None:
    """Raise an UnknownTTAError if there is no such test-time augmentation."""
    if tta not in TTA:
        raise UnknownTTAError(f"There is no --tta {tta!r}.", f"Choose from {', '.join(TTA)}.")


class Mirrored(Space):
    """A backbone's features of mirror images, stored beside those of the images themselves.

    Parameters
    ----------
    space : BackboneSpace
        Whose engine computes them.
    """

    def __init__(self, space: BackboneSpace) -> None:
        self._space = space
        self.width = space.width

    @property
    def base(self) -> Space:
        """The space whose engine computes the rows."""
        return self._space

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""
        return {**self._space.identity, "mirror": True}

    @property
    def blocks(self) -> list[tuple[dict[str, Any], int]]:
        """The identity and width of each tap's features."""
        return [({**identity, "mirror": True}, width) for identity, width in self._space.blocks]

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: as for the image itself."""
        return self._space.reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Resize and crop an RGB image as the network expects it, and mirror the result."""
        return np.ascontiguousarray(self._space.prepare(image, box)[:, ::-1])

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn mirrored images into features."""
        return self._space.run(batch)


def averaged(X: NDArray[np.float32], mirrored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of features (n, d) of images and of their mirror images."""
    return (X + mirrored) * np.float32(0.5)
