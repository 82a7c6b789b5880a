"""Ways of turning an image into a row of numbers: a backbone's features, or its own pixels."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.engines import Engine, Readout, build, check, settled_precision
from zoo.images.decode import REDUCED, Box, Picture, Source, raw_pixels, raw_reduction

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["BackboneSpace", "RawPixels", "Space", "prepared"]


class Space(Protocol):
    """A way of turning an image into a row of numbers.

    It may have a ``dtype``, which its rows are kept as instead of float32.
    """

    width: int

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Turn an RGB image into the pixels that :meth:`run` takes."""

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn a batch of `BATCH` prepared images into rows, (BATCH, width)."""


@runtime_checkable
class Reducible(Protocol):
    """A space that can do with a JPEG decoded at a fraction of its sides.

    How small is a function of the picture's size and the space alone: its rows must not depend on which
    other spaces are computed along with it.
    """

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright picture may be: 1, 2, 4 or 8."""

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Turn an RGB image into the pixels that the space takes; `box` is as in `Picture`."""


def prepared(space: Space, source: Source) -> NDArray[np.uint8]:
    """Decode an image as a space wants it, and turn it into the pixels that the space takes.

    Parameters
    ----------
    space : Space
        What is to be computed.
    source : Source
        The image; spaces that want the same scale share a decoding.

    Returns
    -------
    uint8 array
        A picture's, for :meth:`Space.run`.

    Raises
    ------
    UnreadableImage
        If it cannot be decoded or resized.
    """
    if isinstance(space, Reducible):
        picture: Picture = source.picture(space.reduction)
        return space.prepare(picture.image, picture.box)
    return space.prepare(source.picture().image)


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
    exact_decoding : bool, optional
        Decode large JPEGs in full, as timm does; by default at a fraction of their sides, where
        :meth:`zoo.images.decode.Preprocess.reduction` allows it.

    Attributes
    ----------
    width : int
        How many numbers it gives for an image.
    expected_images : int or None
        How many images are to come, where that is known: with many, ``auto`` finds out which engine is
        the fastest. :func:`zoo.features.extract.compute` sets it.

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
        exact_decoding: bool = False,
    ) -> None:
        check(engine, precision)  # now, not when a batch first needs it
        self.backbone = backbone
        self.readout = Readout.of(backbone, layers, pool)
        self.width = sum(self.readout.widths(backbone))
        self.exact_decoding = exact_decoding
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
            **({} if self.exact_decoding else {"decoding": REDUCED}),
        }

    @cached_property
    def engine(self) -> Engine:
        """The engine, made ready when the first batch needs it."""
        return build(
            self.backbone, self._engine_name, self._asked, self.expected_images, self._say, self.readout
        )

    @property
    def engine_used(self) -> str | None:
        """The name of the engine, if one was made ready."""
        engine: Engine | None = self.__dict__.get("engine")
        return engine.name if engine else None

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: 1, 2, 4 or 8."""
        return 1 if self.exact_decoding else self.backbone.preprocess.reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Resize and crop an RGB image as the network expects it."""
        return self.backbone.preprocess(image, box)

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
    identity: dict[str, Any] = {"pixels": "32x32 box", "decoding": REDUCED}  # noqa: RUF012 (a protocol's)

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: 1, 2, 4 or 8."""
        return raw_reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Shrink an image."""
        return raw_pixels(image, box)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flatten images, (n, 32, 32, 3), to rows from 0 to 1."""
        return batch.reshape(len(batch), -1).astype(np.float32) / np.float32(255)
