"""Ways of turning an image into a row of numbers: a backbone's features, or its own pixels."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.engines import Engine, Readout, build, check, settled_precision
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
        Whose features.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    say : callable, optional
        Told in one line of anything unexpected about the engine.
    layers : str or sequence of str, optional
        Which of its stages are read, as ``blocks.4`` or ``stages.3``, or ``features``: the headless
        network's output, which is read where nothing is named. Several are computed in one pass and stand
        side by side.
    pool : str, optional
        How stages are pooled: ``avg``, ``max``, ``gem``, or ``none`` for all positions, flattened.

    Attributes
    ----------
    width : int
        How many numbers it gives for an image.
    expected_images : int or None
        How many images are to come, where that is known: with many, ``auto`` finds out which engine is
        the fastest. Set it before the first batch.

    Raises
    ------
    EngineError
        If there is no such engine or precision, or the engine is not installed.
    UnknownLayerError
        If the backbone has no such layer.
    """

    def __init__(
        self,
        backbone: "Backbone",
        engine: str = "auto",
        precision: str = "fp32",
        say: Callable[[str], None] | None = None,
        layers: str | Sequence[str] = (),
        pool: str = "avg",
    ) -> None:
        check(engine, precision)  # now, not when a batch first needs it
        self.backbone = backbone
        self.readout = Readout.of(backbone, layers, pool)
        self.width = sum(self.readout.widths(backbone))
        self.prepare = backbone.preprocess
        self.expected_images: int | None = None
        self._engine_name = engine
        self._asked = precision
        self._say = say

    @cached_property
    def precision(self) -> str:
        """The precision that the features really have; to decide ``auto``, an engine may be tried."""
        settled = settled_precision(self.backbone, self._engine_name, self._asked, self.readout)
        return settled or self.engine.precision

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the features depend on besides the image."""
        return {
            **self.backbone.identity,
            "precision": self.precision,
            **self.readout.identity(self.backbone),
        }

    @cached_property
    def engine(self) -> Engine:
        """The engine, made ready when the first batch needs it."""
        return build(
            self.backbone, self._engine_name, self._asked, self.expected_images, self._say, self.readout
        )

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images, (BATCH, height, width, 3), into features, (BATCH, width)."""
        return self.engine(batch)

    def split(self, X: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Cut features apart into those of each layer.

        Parameters
        ----------
        X : (n, width) float32 array
            Rows that this space gave.

        Returns
        -------
        dict of str to (n, d) float32 array
            By the layers' names as they were given; ``features`` where none was.
        """
        return self.readout.split(self.backbone, X)


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
