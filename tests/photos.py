"""Photographs for tests: crops of scikit-learn's two, and the shared data sets where they are present."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"

needs_photographs = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not present")


def crops(folder, names=("china", "flower"), n=12, seed=0, side=120):
    """Small crops of two real photographs, one class each."""
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{name}.jpg") as photo:
            for i in range(n):
                x, y = rng.integers(0, photo.width - side), rng.integers(0, photo.height - side)
                photo.crop((x, y, x + side, y + side)).save(folder / name / f"{i}.png")
    return folder


def tiles(folder, names=("china", "flower"), n=30, start=0, side=64):
    """Parts of two real photographs that do not overlap, one class each: none is a copy of another."""
    for name in names:
        (folder / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{name}.jpg") as photo:
            columns = photo.width // side
            order = np.random.default_rng(0).permutation(columns * (photo.height // side))
            for i in order[start : start + n]:
                x, y = i % columns * side, i // columns * side
                photo.crop((x, y, x + side, y + side)).save(folder / name / f"{i}.png")
    return folder


def contents(folder):
    """Return the files below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
