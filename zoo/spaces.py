"""Ways of turning an image into a row of numbers: a backbone's features, or its own pixels."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.engines import Engine, build, check
from zoo.images import raw_pixels

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["BackboneSpace", "RawPixels", "Space"]


class Space(Protocol):
    """A way of turning an image into a row of numbers."""

    width: int

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Turn an RGB image into the pixels that :meth:`run` takes."""

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn a batch of `BATCH` prepared images into rows, (BATCH, width)."""


class BackboneSpace:
    """The features of a backbone.

    Parameters
    ----------
    backbone : Backbone
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    say : callable, optional
        Told in one line of anything unexpected about the engine.
    """

    def __init__(
        self,
        backbone: "Backbone",
        engine: str = "auto",
        precision: str = "fp32",
        say: Callable[[str], None] | None = None,
    ) -> None:
        check(engine, precision)  # now, not when a batch first needs it
        self.backbone = backbone
        self.precision = precision
        self.width = backbone.num_features
        self.prepare = backbone.preprocess
        self._engine_name = engine
        self._say = say

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the features depend on besides the image."""
        return {**self.backbone.identity, "precision": self.precision}

    @cached_property
    def engine(self) -> Engine:
        """The engine, made ready when the first batch needs it."""
        return build(self.backbone, self._engine_name, self.precision, self._say)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images, (BATCH, height, width, 3), into features, (BATCH, num_features)."""
        return self.engine(batch)


class RawPixels:
    """An image's own colours, shrunk to 32 x 32: what a classifier can do without a CNN."""

    width = 32 * 32 * 3
    identity: dict[str, Any] = {"pixels": "32x32 box"}  # noqa: RUF012 (a protocol's attribute)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Shrink an image."""
        return raw_pixels(image)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flatten images, (n, 32, 32, 3), to rows from 0 to 1."""
        return batch.reshape(len(batch), -1).astype(np.float32) / np.float32(255)
