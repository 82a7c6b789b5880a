"""What the loop is fed with: pictures kept in memory, or activations computed beforehand.

A source gives the inputs of some rows in some epoch; the loop asks for no more than that. Whatever is
random is a function of the seed, the epoch and the row.
"""

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

__all__ = ["Activations", "Phases", "Pictures", "Rows", "Source", "batches"]

Rows = NDArray[np.int64]


class Source(Protocol):
    """Inputs of the trained part, by row."""

    def __len__(self) -> int:
        """How many rows there are."""

    def batch(self, rows: Rows, epoch: int | None) -> torch.Tensor:
        """Return inputs, (n, channels, height, width) float32; without an epoch, as for evaluation."""


class Pictures:
    """Training pictures, decoded once and kept as bytes while they fit into memory.

    Parameters
    ----------
    paths : sequence of Path
        The files; all of them were readable a moment ago.
    preprocess : Preprocess
        The network's.
    augment : Augment or None
        How views differ; None for the picture itself each time.
    seed : int
    limit : int
        Bytes that may be kept; what does not fit is read anew each time.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        preprocess: Preprocess,
        augment: Augment | None,
        seed: int,
        limit: int,
    ) -> None:
        self._paths = list(paths)
        self._preprocess = preprocess
        self._augment = augment
        self._seed = seed
        self._kept: dict[int, Image.Image] = {}
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std
        self._keep(limit)

    def __len__(self) -> int:
        return len(self._paths)

    def resized(self, size: tuple[int, int]) -> "Pictures":
        """Return the same pictures, at another size."""
        other = object.__new__(Pictures)
        other.__dict__.update(self.__dict__, _preprocess=replace(self._preprocess, input_size=size))
        return other

    def useful_size(self) -> tuple[int, int]:
        """Return the network's own size; for pictures smaller than that, the next multiple of 32 to theirs.

        Enlarging a picture adds operations and no information. Half of the pictures decide, and no size below
        128 is returned, for networks were not trained to see objects of so few pixels.
        """
        height, width = self._preprocess.input_size
        sides = [min(self._kept[row].size) for row in range(min(len(self), len(self._kept)))]
        useful = 32 * -(-int(np.median(sides)) // 32) if sides else max(height, width)
        side = max(128, useful)
        return (side, side) if side < min(height, width) else (height, width)

    def batch(self, rows: Rows, epoch: int | None) -> torch.Tensor:
        """Return normalised images, (n, 3, height, width) in channels-last order."""
        pixels = np.stack(list(self._made(rows, epoch)))
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() * self._scale + self._shift

    def _made(self, rows: Rows, epoch: int | None) -> Iterable[NDArray[np.uint8]]:
        """Views, in order; in threads only where files are read, for a kept picture's is made too soon."""
        if all(int(row) in self._kept for row in rows):
            return (self._pixels(int(row), epoch) for row in rows)
        return in_order(lambda row: self._pixels(int(row), epoch), rows, len(rows) + 1)

    def _pixels(self, row: int, epoch: int | None) -> NDArray[np.uint8]:
        image = self._kept.get(row) or self._read(row)
        if epoch is None or self._augment is None:
            return self._preprocess(image)
        rng = np.random.default_rng([self._seed, epoch, row])
        return self._augment(image, self._preprocess.input_size, rng)

    def _read(self, row: int) -> Image.Image:
        """A picture no larger than it is needed."""
        image = open_image(self._paths[row])
        # As many pixels as its evaluation crop asks for; half as many again for views that zoom in.
        need = 1.5 * max(self._preprocess.input_size) / self._preprocess.crop_pct
        factor = need / min(image.size)
        if factor < 1:
            width, height = (max(1, round(side * factor)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return image

    def _keep(self, limit: int) -> None:
        used = 0
        if limit <= 0:
            return
        images = in_order(self._read, range(len(self)), 64)
        with closing(images), progress("pictures", len(self)) as advance:
            for row, image in enumerate(images):
                used += 3 * image.width * image.height
                if used > limit:
                    break
                self._kept[row] = image
                advance(1)


class Phases:
    """One source for the first epochs and another for the rest, and for evaluation.

    Parameters
    ----------
    first, rest : Source
        Of the same rows.
    epochs : int
        How many are the first's.
    """

    def __init__(self, first: Source, rest: Source, epochs: int) -> None:
        self._first, self._rest, self._epochs = first, rest, epochs

    def __len__(self) -> int:
        return len(self._rest)

    def batch(self, rows: Rows, epoch: int | None) -> torch.Tensor:
        """Return the inputs that the epoch's source gives."""
        source = self._first if epoch is not None and epoch < self._epochs else self._rest
        return source.batch(rows, epoch)


class Activations:
    """What the frozen part gives, computed beforehand for several views of each picture.

    Parameters
    ----------
    views : sequence of (n, width) arrays
        The first is the picture as for evaluation.
    shape : tuple of int
        Of one activation.
    seed : int
    """

    def __init__(self, views: Sequence[NDArray[np.floating]], shape: tuple[int, ...], seed: int) -> None:
        self._views = views
        self._shape = shape
        # Rows begin with different views, so that a batch has some of all kinds.
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
    """Give out the inputs of one chunk of rows after the other.

    With a GPU they are made ready while it works on the last. A CPU's cores are all at work then, and wait
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
