"""The labelled images that everything else works on, and the checks that they are enough."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zoo.errors import DataError
from zoo.images.scan import missing_path

__all__ = ["DEMO", "Dataset", "Skipped", "check_counts", "fingerprint", "read"]

DEMO = "demo"
"""What to give `read` for the built-in pictures."""

_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and why.

    Attributes
    ----------
    path : Path
        The file.
    reason : str
        Why, in a few words.
    """

    path: Path
    reason: str


# Arrays have no single truth value, so that the generated comparison could not work.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their classes, and how they came to be parted.

    Attributes
    ----------
    root : str
        What the user gave: a folder, a table, or ``demo``.
    paths : tuple of Path
        One file an image, n of them.
    labels : ndarray of int64, shape (n,)
        Indices into `classes`.
    classes : tuple of str
        The class names in their fixed order.
    parts : ndarray of str, shape (n,), or None
        ``train`` or ``test`` for each image; None if the data does not say.
    parts_from : str
        Who says so: ``folders``, ``column``, or ``""`` where `parts` is None.
    groups : ndarray of str, shape (n,), or None
        Images of one group (of one subject, say) never straddle a split.
    skipped : tuple of Skipped
        Candidates that are no images or cannot be found.
    ignored : int
        How many entries were never candidates: hidden ones, litter, files beside the class folders.
    warnings : tuple of str
        What a user should know about the data, one sentence each.
    """

    root: str
    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    parts: npt.NDArray[np.str_] | None = None
    parts_from: str = ""
    groups: npt.NDArray[np.str_] | None = None
    skipped: tuple[Skipped, ...] = ()
    ignored: int = 0
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("labels", "parts", "groups"):
            column = getattr(self, name)
            if column is not None and column.shape != (len(self.paths),):
                raise ValueError(f"{name} has shape {column.shape}, but there are {len(self.paths)} images")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def counts(self) -> dict[str, int]:
        """How many images each class has, in the order of `classes`."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """The paths as seen from the data's folder, with forward slashes: what reports show."""
        root = Path(self.root)
        base = root.parent if root.suffix.lower() in _TABLE_SUFFIXES and not root.is_dir() else root
        return tuple(
            path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
            for path in self.paths
        )

    def subset(self, indices: npt.NDArray[np.int64] | Sequence[int]) -> "Dataset":
        """Take some of the images; classes and everything that was noted stay as they are.

        Parameters
        ----------
        indices : array of int
            Which images, in the order wanted.

        Returns
        -------
        Dataset
            Unchecked: a class may have come out empty.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            paths=tuple(self.paths[i] for i in chosen),
            labels=self.labels[chosen],
            parts=None if self.parts is None else self.parts[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def drop(self, indices: npt.NDArray[np.int64] | Sequence[int], reasons: Sequence[str]) -> "Dataset":
        """Move images that turned out unreadable to `skipped`, and check what is left.

        Parameters
        ----------
        indices : array of int
            Which images.
        reasons : sequence of str
            Why, one for each of `indices`.

        Returns
        -------
        Dataset
            With the same classes in the same order.

        Raises
        ------
        DataError
            If no image is left, or a class has too few (see `check_counts`).
        """
        gone = [Skipped(self.paths[i], reason) for i, reason in zip(indices, reasons, strict=True)]
        if not gone:
            return self
        kept = np.setdiff1d(np.arange(len(self)), np.asarray(indices, dtype=np.int64))
        rest = replace(self.subset(kept), skipped=self.skipped + tuple(gone))
        check_counts(rest)
        return rest


def read(data: str | os.PathLike[str]) -> Dataset:
    """Read a labelled data set without opening its images.

    Parameters
    ----------
    data : str or path
        A folder with a folder for each class (with ``train/`` and ``val/`` or ``test/`` above them,
        or without), a table (``.csv``, ``.tsv``, ``.jsonl``), or ``demo`` for the built-in pictures
        (a folder of that name is ``./demo``).

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If there is nothing to learn from: a missing path, an empty folder, no class folders, a single
        class, a class with too few images, a faulty table.
    """
    # Imported late, because both build on this module's Dataset.
    from finetune.data.folder import read_folder
    from finetune.data.table import read_table

    if data == DEMO:
        from finetune.data.demo import demo_folder

        folder = demo_folder()
        dataset = read_folder(folder)
        return replace(dataset, root=DEMO)
    path = _existing(data)
    if path.is_dir():
        dataset = read_folder(path)
    elif path.suffix.lower() in _TABLE_SUFFIXES:
        dataset = read_table(path)
    else:
        raise DataError(
            f"{path} is neither a folder nor a table.",
            f"Give a folder of class folders, or a table whose name ends in {', '.join(_TABLE_SUFFIXES)}.",
        )
    check_counts(dataset)
    return dataset


def _existing(data: str | os.PathLike[str]) -> Path:
    """The path meant, with ``~`` written out."""
    try:
        path = Path(data).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # too long or not permitted; a home that nobody has
        why = (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")
        raise DataError(
            f"{_shortened(os.fspath(data))} cannot be looked at: {why}.", "Check the path."
        ) from error
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
    if dataset.parts is None:
        training, need = dataset, 3
    else:
        training, need = dataset.subset(np.flatnonzero(dataset.parts == "train")), 2
        if len(training) == len(dataset):
            raise DataError(
                f"No image is left in the held-out part of {dataset.root}.",
                "Mend the images listed as skipped, or leave that part out, and a fifth is held out instead.",
            )
    small = [f"{name!r} ({count})" for name, count in training.counts.items() if count < need]
    if small:
        what = "images" if dataset.parts is None else "training images"
        raise DataError(
            f"{dataset.root}: too few {what} in {_some(small)}.",
            f"Each class needs at least {need}: add images to {'it' if len(small) == 1 else 'them'} "
            f"or take {'it' if len(small) == 1 else 'them'} out.",
        )


def fingerprint(dataset: Dataset, digests: Sequence[str]) -> str:
    """Identify a data set by what is in it, wherever it lies and whatever its files are called.

    Parameters
    ----------
    dataset : Dataset
        Of n images.
    digests : sequence of str
        The digest of each image file's content, n of them, in the order of ``dataset.paths``.

    Returns
    -------
    str
        SHA-256, in hexadecimal, over the sorted (class name, part, digest) of all images.
    """
    names = [dataset.classes[label] for label in dataset.labels]
    parts = [""] * len(dataset) if dataset.parts is None else dataset.parts.tolist()
    lines = sorted(json.dumps(line) for line in zip(names, parts, digests, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


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
