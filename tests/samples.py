"""Features without images: what the tests of methods learn from."""

from pathlib import Path

import numpy as np

from finetune.data.split import folds
from finetune.method import Images, Task


def clouds(n=150, d=12, c=3, seed=0, apart=1.0):
    """Overlapping classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    X = rng.normal(size=(n, d)) + apart * rng.normal(size=(c, d))[y]
    return X.astype(np.float32), y


def images(X, y):
    return Images(tuple(Path(str(i)) for i in range(len(y))), y, X)


def task(X, y, n_folds=5, seed=0):
    return Task(images(X, y), folds(y, n_folds, seed=seed), tuple(map(str, np.unique(y))), seed)
