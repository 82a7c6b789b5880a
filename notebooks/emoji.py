"""The pictures that several notebooks share: a part of the built-in demo images, and two spaces of them."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.data.read import read
from zoo.features.extract import compute, extract
from zoo.features.spaces import RawPixels

__all__ = ["Emoji", "emoji"]

MODEL = "efficientnet_lite0"


@dataclass(eq=False)
class Emoji:
    """Emoji, by Unicode group.

    Attributes
    ----------
    paths : list of Path
        n files.
    y : (n,) int array
        Class indices.
    classes : tuple of str
    """

    paths: list[Path]
    y: NDArray[np.int64]
    classes: tuple[str, ...]

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """Colours of 32 x 32 pixels between 0 and 1, (n, 3072)."""
        return compute(self.paths, [RawPixels()]).matrices[0]

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """What EfficientNet-Lite0 computes before its classifier, (n, 1280)."""
        return extract(MODEL, self.paths).X

    def picture(self, i: int, side: int = 72) -> Image.Image:
        """Return one picture, small."""
        with Image.open(self.paths[i]) as image:
            return image.convert("RGB").resize((side, side))

    def folder(self, where: Path) -> Path:
        """Copy the pictures into a folder for each class below `where`, as `finetune` reads them."""
        for path, label in zip(self.paths, self.y, strict=True):
            (where / self.classes[label]).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, where / self.classes[label] / path.name)
        return where


def emoji(per_class: int = 60, seed: int = 0) -> Emoji:
    """Draw so many pictures of each class; one seed draws the same ones.

    Parameters
    ----------
    per_class : int, optional
        Fewer where a class has fewer.
    seed : int, optional
    """
    dataset = read("demo")
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            np.sort(rng.permutation(np.flatnonzero(dataset.labels == c))[:per_class])
            for c in range(len(dataset.classes))
        ]
    )
    return Emoji([dataset.paths[i] for i in rows], dataset.labels[rows], dataset.classes)
