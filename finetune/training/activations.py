"""The frozen part's output for several views of each image, computed once and kept in the feature store.

Images are usually augmented anew in each epoch, for which the whole network has to run each time. With a
fixed number of views an epoch costs what the trained part costs.
"""

import errno
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from finetune.errors import TrainingError
from finetune.training.augment import Augment
from finetune.training.cut import Cut
from finetune.training.sources import spare_memory
from zoo.backbone import Backbone, Stage
from zoo.engines import FeatureTap
from zoo.features.fill import Extraction, compute
from zoo.features.spaces import BackboneSpace, Space
from zoo.images.decode import Box

__all__ = ["TorchFront", "ViewSpace", "activations", "front"]


class ViewSpace(Space):
    """The frozen part's output for one view of an image.

    Parameters
    ----------
    front : BackboneSpace or TorchFront
        What computes it.
    size : (int, int)
        Height and width of a view.
    augment : Augment or None
        How views differ.
    number : int
        Which view; 0 is the image as for evaluation.
    seed : int
    """

    dtype = np.float16

    def __init__(
        self, front: Space, size: tuple[int, int], augment: Augment | None, number: int, seed: int
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
        """Make the view of an image; what is random is a function of its pixels and not of its place."""
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


def front(
    backbone: Backbone, cut: Cut, engine: str, precision: str, log: Callable[[str], None]
) -> BackboneSpace | TorchFront:
    """Return what computes the tensor at a cut: an engine of the zoo where one can.

    Parameters
    ----------
    backbone : Backbone
    cut : Cut
    engine, precision : str
        As in :func:`zoo.engines.build`.
    log : callable
        Given one line at a time.
    """
    if cut.module and len(cut.shape) == 3:
        channels, height, _ = cut.shape
        reduction = backbone.preprocess.input_size[0] // height
        tap = FeatureTap(Stage(cut.module, reduction, channels), "none")
        space = BackboneSpace(backbone, engine, precision, log, {cut.module: tap})
        if space.width == np.prod(cut.shape):
            return space
    return TorchFront(backbone, cut)


def activations(
    paths: Sequence[Path], spaces: Sequence[ViewSpace], folder: Path, limit: int | None = None
) -> list[NDArray[np.float16]]:
    """Compute the rows of several views, or take them from the store.

    Parameters
    ----------
    paths : sequence of Path
        The images.
    spaces : sequence of ViewSpace
        One for each view.
    folder : Path
        Where they are kept on disk if memory is too small for them.
    limit : int, optional
        Bytes of memory that they may take; by default a part of what is free.

    Returns
    -------
    list of (n, width) float16 arrays
        One for each view.

    Raises
    ------
    UnreadableImage
        If an image cannot be read any more.
    TrainingError
        If neither memory nor disk has room for them.
    """
    filled = compute(paths, spaces)
    if filled.skipped:
        raise next(iter(filled.skipped.values()))
    size = 2 * len(paths) * sum(space.width for space in spaces)
    if size <= (spare_memory() if limit is None else limit):
        return filled.matrices
    return [_on_disk(filled, view, folder) for view in range(len(spaces))]


def _on_disk(filled: Extraction, view: int, folder: Path) -> NDArray[np.float16]:
    """The rows in a file without a name, which goes when nothing refers to the array any more."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for part in filled.rows(view):
                file.write(np.ascontiguousarray(part, np.float16).data)
            file.flush()
            return np.memmap(file, np.float16, "r", shape=(len(filled), filled.spaces[view].width))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(
            f"Neither memory nor the disk of {folder} has room for the activations of all views.",
            "Give fewer --num-views, or a smaller --layers, or free some space.",
        ) from error
