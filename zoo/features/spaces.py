"""Ways of turning an image into a row of numbers: a backbone's features, or its own pixels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from zoo.backbone import Backbone
from zoo.engines import Engine, FeatureTap, build, check, settled_precision, taps_of
from zoo.images.decode import Box, EncodedImage
from zoo.images.preprocess import REDUCED, raw_pixels, raw_reduction

__all__ = ["BackboneSpace", "RawPixels", "Space", "prepared"]


class Space(ABC):
    """A way of turning an image into a row of numbers.

    Attributes
    ----------
    width : int
        How many numbers it gives for an image.
    dtype : data type
        What rows are kept as.
    expected_images : int or None
        How many images are to be computed, where that is known: with many, ``auto`` times the engines.
        :func:`zoo.features.fill.compute` sets it.
    """

    width: int
    dtype: DTypeLike = np.float32
    expected_images: int | None = None

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""

    @property
    def blocks(self) -> list[tuple[dict[str, Any], int]]:
        """The parts of a row that are stored separately: the identity and the width of each."""
        return [(self.identity, self.width)]

    @property
    def base(self) -> "Space":
        """The space whose engine computes the rows: this one, unless it only prepares images differently."""
        return self

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: 1, 2, 4 or 8.

        It must be a function of the image's size and the space alone, for rows must not depend on which other
        spaces are computed with them.
        """
        return 1

    @abstractmethod
    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Turn an RGB image into the pixels that :meth:`run` takes; `box` is as in `DecodedImage`."""

    @abstractmethod
    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn a batch of `BATCH` prepared images into rows, (BATCH, width)."""


def prepared(space: Space, image: EncodedImage) -> NDArray[np.uint8]:
    """Decode an image as a space needs it, and turn it into the pixels that the space takes.

    Spaces that need the same scale share a decoding. Raises UnreadableImage.
    """
    decoded = image.decode(space.reduction)
    return space.prepare(decoded.image, decoded.box)


class BackboneSpace(Space):
    """The features of a backbone.

    Parameters
    ----------
    backbone : Backbone
        Whose features.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    log : callable, optional
        Takes a line about anything unexpected.
    features : str, sequence of str, or dict of str to FeatureTap, optional
        What is read, as in :func:`zoo.engines.taps_of`, or taps by name. All of it is computed in one pass,
        stands side by side in a row, and is stored separately.
    pool : str, optional
        How stages are pooled that name no pooling: ``avg``, ``max``, ``gem``, or ``none`` for all positions.
    exact_decoding : bool, optional
        Decode large JPEGs in full, as timm does; by default at a fraction of their sides, where
        :meth:`zoo.images.preprocess.Preprocess.reduction` allows it.

    Raises
    ------
    EngineError
        If the engine or precision is unknown or not available here.
    UnknownLayerError
        If the backbone has no such layer.
    """

    def __init__(
        self,
        backbone: Backbone,
        engine: str = "auto",
        precision: str = "fp32",
        log: Callable[[str], None] | None = None,
        features: str | Sequence[str] | dict[str, FeatureTap] = "last",
        pool: str = "avg",
        exact_decoding: bool = False,
    ) -> None:
        check(engine, precision)  # now, not when a batch first needs it
        self.backbone = backbone
        self.taps = features if isinstance(features, dict) else taps_of(backbone, features, pool)
        self.width = sum(tap.width(backbone) for tap in self.taps.values())
        self.exact_decoding = exact_decoding
        self._engine_name = engine
        self._precision = precision
        self._log = log
        if features == "stages" and not backbone.stages and log:
            log(f"{backbone.name} has no named stages, so only its last features are used.")

    @cached_property
    def precision(self) -> str:
        """The precision that the features really have; to decide ``auto``, an engine may be tried."""
        taps = tuple(self.taps.values())
        settled = settled_precision(self.backbone, self._engine_name, self._precision, taps)
        return settled or self.engine.precision

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the features depend on besides the image."""
        (first, *others) = (identity for identity, _ in self.blocks)
        if not others:
            return first
        return {**self._common, "taps": [tap.identity for tap in self.taps.values()]}

    @property
    def blocks(self) -> list[tuple[dict[str, Any], int]]:
        """The identity and width of each tap's features."""
        return [({**self._common, **tap.identity}, tap.width(self.backbone)) for tap in self.taps.values()]

    @property
    def _common(self) -> dict[str, Any]:
        decoding = {} if self.exact_decoding else {"decoding": REDUCED}
        return {**self.backbone.identity, "precision": self.precision, **decoding}

    @cached_property
    def engine(self) -> Engine:
        """The engine, made ready when the first batch needs it."""
        return build(
            self.backbone,
            self._engine_name,
            self._precision,
            self.expected_images,
            self._log,
            tuple(self.taps.values()),
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
        """Return the part of some rows that each tap gave, by the taps' names."""
        places = np.cumsum([tap.width(self.backbone) for tap in self.taps.values()])[:-1].tolist()
        return dict(zip(self.taps, np.split(X, places, axis=1), strict=True))


class RawPixels(Space):
    """An image's own colours, shrunk to 32 x 32: what a classifier can do without a CNN."""

    width = 32 * 32 * 3

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""
        return {"pixels": "32x32 box", "decoding": REDUCED}

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: 1, 2, 4 or 8."""
        return raw_reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Shrink an image."""
        return raw_pixels(image, box)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flatten images, (n, 32, 32, 3), to rows from 0 to 1."""
        return batch.reshape(len(batch), -1).astype(np.float32) / np.float32(255)
