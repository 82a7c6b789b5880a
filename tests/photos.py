"""Photographs for tests: crops of scikit-learn's two, and the shared data sets where they are present."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"

needs_photographs = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not present")


def crops(folder, names=("china", "flower"), n=12, seed=0, side=90):
    """Parts of two real photographs, one class each, that do not overlap: none is a copy of another.

    Those of seed 1, 2, … are others than the first twelve of seed 0, for up to five of them.
    """
    tiles(folder, names, n, 0 if seed == 0 else 7 + 5 * seed, side)
    for name in names:
        for i, path in enumerate(sorted((folder / name).iterdir(), key=lambda p: int(p.stem))):
            path.rename(path.with_name(f"_{i}.png"))
        for path in list((folder / name).iterdir()):
            path.rename(path.with_name(path.name[1:]))
    return folder


def tiles(folder, names=("china", "flower"), n=30, start=0, side=64):
    """Parts of two real photographs that do not overlap, one class each, named by their place."""
    for name in names:
        (folder / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{name}.jpg") as photo:
            columns = photo.width // side
            order = np.random.default_rng(0).permutation(columns * (photo.height // side))
            for i in np.roll(order, -start)[:n]:
                x, y = i % columns * side, i // columns * side
                photo.crop((x, y, x + side, y + side)).save(folder / name / f"{i}.png")
    return folder


def contents(folder):
    """Return the files below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
