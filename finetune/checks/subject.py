"""From labelled images and a network to what the checks look at."""

import os
from pathlib import Path
from typing import Any

from finetune.checks.contract import Subject
from finetune.checks.spaces import ImageSizes
from finetune.data.dataset import read
from finetune.data.split import folds, hold_out
from finetune.method import Images, Task
from zoo.features.extract import compute
from zoo.features.spaces import BackboneSpace, RawPixels

__all__ = ["prepare"]


def prepare(
    data: str | os.PathLike[str],
    space: BackboneSpace,
    strategy: str,
    options: Any,
    seed: int,
    pictures: Path,
) -> Subject:
    """Read the images and compute what the checks look at; the split and the folds are training's own.

    Parameters
    ----------
    data : str or path
        As in :func:`finetune.data.dataset.read`.
    space : BackboneSpace
        What computes features.
    strategy, options
        What is meant to be trained, and how.
    seed : int
        Of the split and the folds.
    pictures : Path
        An existing folder for what the checks draw.

    Returns
    -------
    Subject
        Of the images that could be read.
    """
    dataset = read(data)
    space.expected_images = len(dataset)
    found = compute(dataset.paths, [space, RawPixels(), ImageSizes()])
    dataset = dataset.drop(list(found.skipped), [error.reason for error in found.skipped.values()])
    X, pixels, sizes = found.matrices
    y, groups = dataset.labels, dataset.groups
    split = hold_out(y, dataset.parts, groups, seed=seed, parts_from=dataset.parts_from)
    rows = split.train
    train = Images(tuple(dataset.paths[i] for i in rows), y[rows], X[rows])
    dealt = folds(train.labels, groups=None if groups is None else groups[rows], seed=seed)
    return Subject(
        dataset=dataset,
        digests=found.digests,
        X=X,
        pixels=pixels,
        sizes=sizes,
        split=split,
        task=Task(train, dealt, dataset.classes, seed),
        backbone=space.backbone,
        space=space,
        strategy=strategy,
        options=options,
        seed=seed,
        pictures=pictures,
    )
