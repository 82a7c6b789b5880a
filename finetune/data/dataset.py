"""The labelled images that everything else works on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.data.notices import Notice

__all__ = ["TABLE_SUFFIXES", "Dataset", "Skipped", "fingerprint"]

#: Endings of tables of images.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


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
    """Images with their classes, groups and splits.

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
    splits : ndarray of str, shape (n,), or None
        ``train`` or ``test`` for each image; None if the data have no split.
    splits_from : str
        Where that comes from: ``folders``, ``column``, or ``""`` where `splits` is None.
    groups : ndarray of str, shape (n,), or None
        Images of one group (of one patient, say) never straddle a split.
    skipped : tuple of Skipped
        Files that are not images or cannot be found.
    ignored : int
        How many entries were not read: hidden ones, system files, files beside the class folders.
    notices : tuple of Notice
        What a user should know about the data.
    base : Path or None
        What `names` are relative to, where that is not `root`.
    """

    root: str
    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: npt.NDArray[np.str_] | None = None
    splits_from: str = ""
    groups: npt.NDArray[np.str_] | None = None
    skipped: tuple[Skipped, ...] = ()
    ignored: int = 0
    notices: tuple[Notice, ...] = ()
    base: Path | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "splits", "groups"):
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
        """The paths relative to the data's folder, with forward slashes: what reports show."""
        return tuple(self.name_of(path) for path in self.paths)

    def name_of(self, path: Path) -> str:
        """Return a path relative to the data's folder, with forward slashes."""
        root = Path(self.root)
        is_table = root.suffix.lower() in TABLE_SUFFIXES and not root.is_dir()
        base = self.base or (root.parent if is_table else root)
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()

    def subset(self, indices: npt.NDArray[np.int64] | Sequence[int]) -> "Dataset":
        """Take some of the images; the classes stay as they are.

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
            splits=None if self.splits is None else self.splits[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def noting(self, *notices: Notice) -> "Dataset":
        """Return the same images with more notices."""
        return replace(self, notices=self.notices + notices)

    def drop(self, indices: npt.NDArray[np.int64] | Sequence[int], reasons: Sequence[str]) -> "Dataset":
        """Move images that cannot be read to `skipped`.

        Parameters
        ----------
        indices : array of int
            Which images.
        reasons : sequence of str
            Why, one for each of `indices`.

        Returns
        -------
        Dataset
            With the same classes in the same order; unchecked, as for `subset`.
        """
        gone = [Skipped(self.paths[i], reason) for i, reason in zip(indices, reasons, strict=True)]
        if not gone:
            return self
        kept = np.setdiff1d(np.arange(len(self)), np.asarray(indices, dtype=np.int64))
        return replace(self.subset(kept), skipped=self.skipped + tuple(gone))


def fingerprint(dataset: Dataset, digests: Sequence[str]) -> str:
    """Return a digest of a data set's content, whatever its place and file names.

    Parameters
    ----------
    dataset : Dataset
        Of n images.
    digests : sequence of str
        The digest of each image file's content, n of them, in the order of ``dataset.paths``.

    Returns
    -------
    str
        SHA-256, in hexadecimal, over the sorted (class name, split, digest) of all images.
    """
    names = [dataset.classes[label] for label in dataset.labels]
    splits = [""] * len(dataset) if dataset.splits is None else dataset.splits.tolist()
    lines = sorted(json.dumps(line) for line in zip(names, splits, digests, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
