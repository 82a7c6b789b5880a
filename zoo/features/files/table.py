"""What every output file holds: features, labels, and where both come from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.features.fill import Extraction
from zoo.features.spaces import BackboneSpace
from zoo.images.scan import as_text
from zoo.images.split_names import split_of

__all__ = ["Table", "labels_by_folder"]


@dataclass(frozen=True)
class Table:
    """Features of images with their labels; the features themselves stay on disk.

    Attributes
    ----------
    widths : dict of str to int
        Each array's name and how many numbers it has for an image: ``X`` alone, or the taps' names
        where there are several.
    paths : list of str
        The images, relative to their folder, with forward slashes.
    y : (n,) int64 array
        Indices into `classes`; -1 for an image that is in no class folder.
    classes : list of str
    model : str
        JSON with the model's name and everything the features depend on.
    extraction : Extraction
        Where the features are, as its first space.
    """

    widths: dict[str, int]
    paths: list[str]
    y: NDArray[np.int64]
    classes: list[str]
    model: str
    extraction: Extraction

    @classmethod
    def of(cls, extraction: Extraction, space: BackboneSpace, root: Path, model: str) -> "Table":
        """Describe computed features: `space` is the extraction's first, `root` the images' folder."""
        y, classes = labels_by_folder(extraction.paths, root)
        widths = [width for _, width in space.blocks]
        names = tuple(space.taps) if len(widths) > 1 else ("X",)
        paths = [as_text(path.relative_to(root).as_posix()) for path in extraction.paths]
        about = json.dumps({"name": model, **space.identity}, sort_keys=True)
        return cls(dict(zip(names, widths, strict=True)), paths, y, classes, about, extraction)

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """Read the features of some images at a time, all arrays side by side."""
        return self.extraction.rows()

    def array(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Read one array, some rows at a time."""
        names = list(self.widths)
        start = sum(self.widths[before] for before in names[: names.index(name)])
        for rows in self.rows():
            yield np.ascontiguousarray(rows[:, start : start + self.widths[name]])


def labels_by_folder(paths: list[Path], root: Path) -> tuple[NDArray[np.int64], list[str]]:
    """Label images by their folders: indices into the classes, these in the order of their first image.

    The first-level folders of `root` are the classes; where these are ``train``, ``val`` and the like, the
    second-level ones are. -1 is an image in no class folder.
    """
    places = [tuple(map(as_text, path.relative_to(root).parts[:-1])) for path in paths]
    parted = all(place[:1] and split_of(place[0]) for place in places)
    names = [place[1:2] if parted else place[:1] for place in places]
    classes = list(dict.fromkeys(name[0] for name in names if name))
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name[0]] if name else -1 for name in names], dtype=np.int64), classes
