"""Golden images: training images with their probabilities, by which an export is checked wherever it runs.

Users' commonest complaint about exported classifiers is that they answer differently from the one that was
measured, nearly always because images are prepared differently. So what is compared begins with image files.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.evaluation.calibration import softmax
from zoo.engines import BATCH
from zoo.features.mirror import averaged
from zoo.features.spaces import Space
from zoo.images.decode import UnreadableImage, open_image, read_file

if TYPE_CHECKING:
    from finetune.runs.predictor import Predictor

__all__ = ["FILE", "N_GOLDEN", "TOLERANCE", "Golden", "choose", "predict", "prepare"]

FILE = "golden.npz"

N_GOLDEN = 16

#: Largest difference in probability that an export may show.
TOLERANCE = 1e-4

#: Bytes of one image, so that all of them stay below a megabyte.
_LARGEST = 60_000

_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True, eq=False)
class Golden:
    """Image files and what the run predicts for them, decoded at full size.

    Attributes
    ----------
    images : list of bytes
        Contents of image files: JPEG or PNG, which every browser decodes.
    names : list of str
        What the files are called in the training folder.
    classes : tuple of str
        Class names, in the order of the probabilities.
    probabilities : (n, c) float64 array
    """

    images: list[bytes]
    names: list[str]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]

    def save(self, folder: Path) -> None:
        """Write ``golden.npz``: plain arrays, of which ``numpy.load`` needs no pickle."""
        np.savez(
            folder / FILE,
            images=np.frombuffer(b"".join(self.images), np.uint8),
            ends=np.cumsum([len(image) for image in self.images]),
            names=np.array(self.names),
            classes=np.array(self.classes),
            probabilities=self.probabilities,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        with np.load(folder / FILE) as file:
            content = file["images"].tobytes()
            ends = [0, *file["ends"].tolist()]
            images = [content[a:b] for a, b in pairwise(ends)]
            return cls(images, file["names"].tolist(), tuple(file["classes"].tolist()), file["probabilities"])

    def write_files(self, folder: Path) -> list[Path]:
        """Write the images as files, numbered in their order; return their paths."""
        paths = []
        for i, image in enumerate(self.images):
            path = folder / f"{i:02}.{'jpg' if image.startswith(_JPEG_START) else 'png'}"
            path.write_bytes(image)
            paths.append(path)
        return paths

    def difference(self, probabilities: NDArray[np.floating[Any]]) -> float:
        """Return the greatest difference in probability."""
        return float(np.abs(probabilities - self.probabilities).max())

    def check(self, probabilities: NDArray[np.floating[Any]], what: str) -> float:
        """Return the greatest difference in probability.

        Raises
        ------
        RunError
            If it is larger than `TOLERANCE`.
        """
        gaps = np.abs(probabilities - self.probabilities)
        if gaps.max() <= TOLERANCE:  # False for NaN too
            return float(gaps.max())
        image, k = np.unravel_index(int(np.nanargmax(np.nan_to_num(gaps, nan=np.inf))), gaps.shape)
        raise RunError(
            f"{what} disagrees with the run: for {self.names[image]} it gives {self.classes[k]} a probability"
            f" of {probabilities[image, k]:.6f}, the run {self.probabilities[image, k]:.6f}; at most"
            f" {TOLERANCE:g} is allowed. {int((gaps.max(axis=1) > TOLERANCE).sum())} of {len(gaps)} images"
            " differ by more.",
            "Nothing was exported. Use the run itself: finetune predict RUN IMAGES.",
        )


def choose(
    paths: Sequence[Path], names: Sequence[str], labels: NDArray[np.int64]
) -> tuple[list[str], list[bytes]]:
    """Choose training images: as many of each class as possible, small files before others.

    Parameters
    ----------
    paths : sequence of Path
        The training images.
    names : sequence of str
        What to call them.
    labels : (n,) int array
        Class indices.

    Returns
    -------
    names : list of str
    images : list of bytes
        Files as they are where they are JPEGs of at most 60 kB; otherwise the same pixels as PNG or, where
        that is larger, a smaller JPEG.

    Raises
    ------
    RunError
        If none of them can be read.
    """
    order = np.random.default_rng(0).permutation(len(paths))
    # The i-th image of every class comes before the (i + 1)-th of any.
    by_class = [[i for i in order if labels[i] == c] for c in np.unique(labels)]
    by_class = [sorted(rows, key=lambda i: not _is_small(paths[i])) for rows in by_class]
    turns = [(turn, c, i) for c, rows in enumerate(by_class) for turn, i in enumerate(rows)]
    chosen: dict[str, bytes] = {}
    for _, _, i in sorted(turns):
        try:
            chosen[names[i]] = _portable(read_file(paths[i]), str(paths[i]))
        except UnreadableImage:
            continue
        if len(chosen) == N_GOLDEN:
            break
    if not chosen:
        raise RunError(
            "None of the run's training images can be read.", "Give the folder they lie in now with --data."
        )
    return list(chosen), list(chosen.values())


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= _LARGEST
    except OSError:
        return False


def _portable(content: bytes, name: str) -> bytes:
    """An image that every browser decodes to the same pixels as Pillow, of at most `_LARGEST` bytes."""
    image = open_image(content, name)
    if content.startswith(_JPEG_START) and len(content) <= _LARGEST:
        return content
    for side, form, options in [
        (max(image.size), "PNG", {}),
        *((side, "JPEG", {"quality": 90}) for side in (640, 512, 384, 256, 128)),
    ]:
        file, smaller = io.BytesIO(), image.copy()
        smaller.thumbnail((side, side))
        smaller.save(file, form, **options)
        if file.tell() <= _LARGEST:
            break
    return file.getvalue()


def prepare(space: Space, images: Sequence[bytes]) -> NDArray[np.uint8]:
    """Decode images at full size and prepare them as a space expects, (n, height, width, 3)."""
    return np.stack([space.prepare(open_image(image)) for image in images])


def predict(predictor: "Predictor", pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the run's own probabilities, (n, c), for prepared pixels: by its engine and its head."""
    X = _rows(predictor.space, pixels)
    if predictor.mirrored:
        X = averaged(X, _rows(predictor.space, np.ascontiguousarray(pixels[:, :, ::-1])))
    return softmax(predictor.head.decision_function(X))


def _rows(space: Space, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = []
    for start in range(0, len(pixels), BATCH):
        part = pixels[start : start + BATCH]
        batch = np.zeros((BATCH, *pixels.shape[1:]), np.uint8)
        batch[: len(part)] = part
        rows.append(space.run(batch)[: len(part)])
    return np.concatenate(rows)
