"""From what a user names to a checked data set: a folder, a table, or the built-in images."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune.data.class_names import alike
from finetune.data.dataset import TABLE_SUFFIXES, Dataset
from finetune.data.folder import read_folder
from finetune.data.table import read_table
from zoo.errors import DataError
from zoo.images.scan import missing_path

__all__ = ["DEMO", "check_counts", "read"]

#: What to give `read` for the built-in images.
DEMO = "demo"


def read(data: str | os.PathLike[str], labels: str = "top") -> Dataset:
    """Read a labelled data set without opening its images.

    Parameters
    ----------
    data : str or path
        A folder with a folder for each class (with ``train/`` and ``val/`` or ``test/`` above them,
        or without), a table (``.csv``, ``.tsv``, ``.jsonl``), or ``demo`` for the built-in images
        (a folder of that name is ``./demo``).
    labels : str, optional
        Which folder names the class, as for :func:`finetune.data.folder.read_folder`.

    Raises
    ------
    DataError
        If there is nothing to learn from: a missing path, an empty folder, no class folders, a single
        class, a class with too few images, a faulty table. If `labels` is given for a table.
    """
    if data == DEMO:
        from finetune.data.demo import demo_folder

        folder = demo_folder()
        return replace(
            read_folder(folder), root=DEMO, base=folder, notices=()
        )  # only of our own file beside them
    path = _existing(data)
    if path.is_dir():
        dataset = read_folder(path, labels)
    elif path.suffix.lower() in TABLE_SUFFIXES:
        if labels != "top":
            raise DataError(
                f"--labels {labels} is about folders, but {path} is a table.",
                "Leave it out: a table's column label names the classes.",
            )
        dataset = read_table(path)
    else:
        raise DataError(
            f"{path} is neither a folder nor a table.",
            f"Give a folder of class folders, or a table whose name ends in {', '.join(TABLE_SUFFIXES)}.",
        )
    check_counts(dataset)
    return dataset.noting(*alike(dataset.classes))


def _existing(data: str | os.PathLike[str]) -> Path:
    """The path meant, with ``~`` written out."""
    try:
        path = Path(data).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # too long or not permitted; a home that nobody has
        why = (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")
        raise DataError(f"{_shortened(os.fspath(data))} cannot be read: {why}.", "Check the path.") from error
    if not exists:
        raise missing_path(path)
    return path


def check_counts(dataset: Dataset) -> None:
    """Refuse a data set that is too small to train on and to hold images out of.

    A class needs 2 images to train on, so that each half of a cross-validation has one; where
    nothing is held out yet, it needs 1 more for that.

    Parameters
    ----------
    dataset : Dataset
        Looked at as it is; call this again after dropping images.

    Raises
    ------
    DataError
        Naming every class that is too small.
    """
    if len(dataset) == 0:
        raise _nothing_left(dataset)
    if len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.root} has images of only one class, {dataset.classes[0]!r}.",
            _second_class(dataset),
        )
    if dataset.splits is None:
        training, need = dataset, 3
    else:
        training, need = dataset.subset(np.flatnonzero(dataset.splits == "train")), 2
        if len(training) == len(dataset):
            raise DataError(
                f"No image is left in the held-out split of {dataset.root}.",
                "Fix the images listed as skipped, or remove that split: a fifth is then held out.",
            )
    small = [f"{name!r} ({count})" for name, count in training.counts.items() if count < need]
    if small:
        what = "images" if dataset.splits is None else "training images"
        raise DataError(
            f"{dataset.root}: too few {what} in {_some(small)}.",
            f"Each class needs at least {need}: add images to {'it' if len(small) == 1 else 'them'} "
            f"or take {'it' if len(small) == 1 else 'them'} out.",
        )


def _second_class(dataset: Dataset) -> str:
    """What to do about a single class; often it is a folder around the class folders."""
    outer = Path(dataset.root) / dataset.classes[0]
    inner = {path.relative_to(outer).parts[0] for path in dataset.paths if path.is_relative_to(outer)}
    if len(inner) > 1 and all((outer / name).is_dir() for name in inner):
        return f"If the folders in {outer} are the classes, give that folder; otherwise add a second class."
    return "A classifier needs at least two: add a folder (or rows) for another class."


def _shortened(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _nothing_left(dataset: Dataset) -> DataError:
    if not dataset.skipped:
        return DataError(f"{dataset.root} has no images.", "Add images to it.")
    reasons = [f"{item.path} ({item.reason})" for item in dataset.skipped]
    return DataError(
        f"None of the {len(reasons)} images of {dataset.root} can be read: {_some(reasons, 3)}.",
        "Check that they are image files and are whole.",
    )


def _some(items: Sequence[str], most: int = 20) -> str:
    """The first of a list, and how many more there are."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
