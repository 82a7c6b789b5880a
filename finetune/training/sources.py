"""What the training loop reads its batches from: images kept in memory, or activations computed beforehand.

A source gives the inputs of some rows in some epoch. Whatever is random is a function of the seed, the epoch
and the row; how much memory is free changes the speed alone.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from finetune.training.augment import Augment
from zoo.images.decode import open_image
from zoo.images.preprocess import Preprocess
from zoo.parallel import in_order, threads
from zoo.progress import progress

__all__ = ["Activations", "ImageSource", "Rows", "Source", "batches", "spare_memory"]

Rows = NDArray[np.int64]

#: Views that zoom in show part of an image, for which it is kept this much larger than evaluation needs.
ZOOM = 1.5


def spare_memory() -> int:
    """Return a third of the memory that is free, in bytes; where that is unknown, 1 GB."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 10**9
    return free // 3


class Source(Protocol):
    """Inputs of the trained part, by row."""

    def __len__(self) -> int:
        """How many rows there are."""

    def batch(self, rows: Rows, epoch: int | None) -> torch.Tensor:
        """Return inputs, (n, channels, height, width) float32; without an epoch, as for evaluation."""


class ImageSource:
    """Training images, decoded once and kept as bytes as far as memory allows.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    preprocess : Preprocess
        The network's, with the size of the images that are wanted.
    augment : Augment or None
        How views differ; None for the image itself each time.
    seed : int
    limit : int
        Bytes that may be kept; an image that does not fit is read each time.
    initial : (int, int), optional
        A number of epochs, and the pixels a side that images have in so many epochs at the beginning.

    Raises
    ------
    UnreadableImage
        If a file cannot be read any more.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        preprocess: Preprocess,
        augment: Augment | None,
        seed: int,
        limit: int,
        initial: tuple[int, int] = (0, 0),
    ) -> None:
        self._paths = list(paths)
        self._preprocess = preprocess
        self._augment = augment
        self._seed = seed
        self._initial_epochs, side = initial
        self._initial = replace(preprocess, input_size=(side, side)) if self._initial_epochs else preprocess
        self._side = ZOOM * max(side, *preprocess.input_size) / preprocess.crop_pct
        self._kept: dict[int, Image.Image] = {}
        self._sides: list[int] = []
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std
        self._keep(limit)

    def __len__(self) -> int:
        return len(self._paths)

    def resized(self, side: int) -> "ImageSource":
        """Return the same images with fewer pixels a side."""
        other = object.__new__(ImageSource)
        other.__dict__.update(self.__dict__, _preprocess=replace(self._preprocess, input_size=(side, side)))
        return other

    def useful_side(self) -> int:
        """Return the pixels a side that are worth computing, at most those of the preprocessing.

        To enlarge an image adds operations and no information: it is the median of the images' shorter sides,
        up to the next multiple of 32. It is at least 128, for networks were not trained to see objects
        of so few pixels.
        """
        useful = max(128, 32 * -(-int(np.median(self._sides)) // 32))
        return min(useful, *self._preprocess.input_size)

    def batch(self, rows: Rows, epoch: int | None) -> torch.Tensor:
        """Return normalised images, (n, 3, height, width) in channels-last order."""
        pixels = np.stack(list(self._views(rows, epoch)))
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() * self._scale + self._shift

    def _views(self, rows: Rows, epoch: int | None) -> Iterable[NDArray[np.uint8]]:
        """Views, in order; in threads only where files are read, for a kept image takes too little time."""
        if all(int(row) in self._kept for row in rows):
            return (self._pixels(int(row), epoch) for row in rows)
        return in_order(lambda row: self._pixels(int(row), epoch), rows, len(rows) + 1)

    def _pixels(self, row: int, epoch: int | None) -> NDArray[np.uint8]:
        image = self._kept.get(row) or self._reduced(open_image(self._paths[row]))
        early = epoch is not None and epoch < self._initial_epochs
        preprocess = self._initial if early else self._preprocess
        if epoch is None or self._augment is None:
            return preprocess(image)
        rng = np.random.default_rng([self._seed, epoch, row])
        return self._augment(image, preprocess.input_size, rng)

    def _reduced(self, image: Image.Image) -> Image.Image:
        """Reduce an image to the size that is needed."""
        factor = self._side / min(image.size)
        if factor >= 1:
            return image
        width, height = (max(1, round(side * factor)) for side in image.size)
        return image.resize((width, height), Image.Resampling.BICUBIC)

    def _keep(self, limit: int) -> None:
        """Read all images, for their sizes, and keep the first as far as memory allows."""

        def read(path: Path) -> tuple[int, Image.Image]:
            image = open_image(path)
            return min(image.size), self._reduced(image)

        images = in_order(read, self._paths, 64)
        with closing(images), progress("images", len(self)) as advance:
            for row, (side, image) in enumerate(images):
                self._sides.append(side)
                limit -= 3 * image.width * image.height
                if limit >= 0:
                    self._kept[row] = image
                advance(1)


class Activations:
    """The output of the frozen part, computed beforehand for several views of each image.

    Parameters
    ----------
    views : sequence of (n, width) arrays
        The first is the image as for evaluation.
    shape : tuple of int
        Of one activation.
    seed : int
    """

    def __init__(self, views: Sequence[NDArray[np.floating]], shape: tuple[int, ...], seed: int) -> None:
        self._views = views
        self._shape = shape
        # Rows start with different views, so that a batch has some of all of them.
        self._first = np.random.default_rng([seed, 0]).integers(len(views), size=len(self))

    def __len__(self) -> int:
        return len(self._views[0])

    def batch(self, rows: Rows, epoch: int | None) -> torch.Tensor:
        """Return activations, (n, *shape), in channels-last order where they have four axes."""
        which = np.zeros(len(rows), np.int64)
        if epoch is not None:
            which = (self._first[rows] + epoch) % len(self._views)
        gathered = np.empty((len(rows), self._views[0].shape[1]), np.float32)
        for i, (view, row) in enumerate(zip(which, rows, strict=True)):
            gathered[i] = self._views[int(view)][row]
        given = torch.from_numpy(gathered).view(len(rows), *self._shape)
        return given.contiguous(memory_format=torch.channels_last) if given.ndim == 4 else given


def batches(source: Source, chunks: Sequence[Rows], epoch: int | None) -> Iterator[torch.Tensor]:
    """Iterate over the inputs of one chunk of rows after the other.

    With a GPU they are prepared in threads while it computes. On a CPU all cores compute already, and wait
    for each other at every layer: a thread that takes one of them away costs more time than it saves.

    Parameters
    ----------
    source : Source
    chunks : sequence of int arrays
        The rows of each batch.
    epoch : int or None
        As for :meth:`Source.batch`.

    Yields
    ------
    (n, channels, height, width) float32 tensor
    """
    if not torch.cuda.is_available():
        for rows in chunks:
            yield source.batch(rows, epoch)
        return
    with closing(in_order(lambda rows: source.batch(rows, epoch), chunks, threads() + 1)) as ready:
        yield from ready
