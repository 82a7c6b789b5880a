"""What the frozen part gives, for several views of each picture, computed once and kept.

Pictures are usually augmented anew in each epoch, for which the whole network has to run each time. With a
fixed number of views an epoch costs what the trained part costs.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from finetune.training.augment import Augment
from finetune.training.cut import Cut
from zoo.backbone import Backbone, Stage
from zoo.engines import FeatureTap
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace, Space
from zoo.images.decode import Box

__all__ = ["ViewSpace", "activations", "most_views"]


class ViewSpace(Space):
    """The frozen part's output for one view of a picture.

    Parameters
    ----------
    front : BackboneSpace or TorchFront
        What computes it.
    size : (int, int)
        Height and width of a view.
    augment : Augment or None
        How views differ.
    number : int
        Which view; 0 is the picture as for evaluation.
    seed : int
    """

    dtype = np.float16

    def __init__(
        self, front: Any, size: tuple[int, int], augment: Augment | None, number: int, seed: int
    ) -> None:
        self.width = front.width
        self._front, self._size, self._augment, self._number, self._seed = front, size, augment, number, seed

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""
        if self._augment is None or not self._number:
            return dict(self._front.identity)
        view = {"number": self._number, "augment": self._augment.key, "seed": self._seed}
        return {**self._front.identity, "view": view}

    @property
    def base(self) -> Space:
        """What computes the rows of all views."""
        return self._front

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Make the view of a picture; chance is a function of its pixels, and not of its place."""
        if self._augment is None or not self._number:
            return np.asarray(self._front.prepare(image))
        rng = np.random.default_rng([self._seed, self._number, zlib.crc32(image.tobytes())])
        return self._augment(image, self._size, rng)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn views, (BATCH, height, width, 3), into rows, (BATCH, width)."""
        return np.asarray(self._front.run(batch))


class TorchFront(Space):
    """The frozen part run by torch, where it does not end with a module's output.

    Parameters
    ----------
    backbone : Backbone
    cut : Cut
    """

    def __init__(self, backbone: Backbone, cut: Cut) -> None:
        self.width = int(np.prod(cut.shape))
        self._backbone, self._head = backbone, cut.head
        preprocess = backbone.preprocess
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on besides the image."""
        return {**self._backbone.identity, "cut": f"{self._head.code}", "precision": "fp32"}  # type: ignore[union-attr]

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Resize and crop an RGB image as the network expects it."""
        return self._backbone.preprocess(image, box)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images, (n, height, width, 3), into rows, (n, width)."""
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).float() * self._scale + self._shift
        with torch.inference_mode():
            return self._head(images).flatten(1).numpy()  # type: ignore[misc]


def front(backbone: Backbone, cut: Cut, engine: str, precision: str, say: Callable[[str], None]) -> Any:
    """Return what computes the tensor at a cut: an engine of the zoo where one can."""
    if cut.module and len(cut.shape) == 3:
        channels, height, _ = cut.shape
        reduction = backbone.preprocess.input_size[0] // height
        tap = FeatureTap(Stage(cut.module, reduction, channels), "none")
        space = BackboneSpace(backbone, engine, precision, say, {cut.module: tap})
        if space.width == np.prod(cut.shape):
            return space
    return TorchFront(backbone, cut)


def most_views(images: int, shape: tuple[int, ...], limit: int) -> int:
    """Return how many views of so many images fit into so many bytes, as float16; at least 1."""
    return max(1, limit // max(1, 2 * images * int(np.prod(shape))))


def activations(paths: Sequence[Path], spaces: Sequence[ViewSpace]) -> list[NDArray[np.float16]]:
    """Compute the rows of several views, or take them from the store.

    Parameters
    ----------
    paths : sequence of Path
        The pictures.
    spaces : sequence of ViewSpace
        One a view.

    Returns
    -------
    list of (n, width) float16 arrays
        One a view.

    Raises
    ------
    UnreadableImage
        If a picture cannot be read any more.
    """
    filled = compute(paths, spaces)
    if filled.skipped:
        raise next(iter(filled.skipped.values()))
    views = [np.empty((len(paths), space.width), np.float16) for space in spaces]
    for place, view in enumerate(views):
        start = 0
        for rows in filled.rows(place):
            view[start : start + len(rows)] = rows
            start += len(rows)
    return views
