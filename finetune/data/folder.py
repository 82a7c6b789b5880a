"""Labels from folder names: ``DIR/<class>/*``, or ``DIR/train/<class>/*`` beside ``val`` or ``test``."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data.dataset import Dataset
from finetune.data.split_names import held_out_split, split_of
from zoo.errors import DataError
from zoo.images.scan import is_litter, natural_key, scan

__all__ = ["read_folder"]

_LAYOUT = "Put the images of each class into a folder of their own, like {0}/cats/1.jpg and {0}/dogs/1.jpg."


@dataclass
class _Split:
    """The class folders of one split: their files by class name, and what else is there."""

    files: dict[str, tuple[Path, ...]]
    empty: list[Path]
    ignored: int


def read_folder(root: Path) -> Dataset:
    """Read a folder whose folders are the classes, or the splits with the classes in them.

    A class is a first-level folder; what lies deeper belongs to it. Where both ``val`` and ``test``
    exist, ``test`` is held out and ``val`` joins the training split.

    Parameters
    ----------
    root : Path
        An existing folder.

    Returns
    -------
    Dataset
        Its counts unchecked (`finetune.data.read.check_counts` does that).

    Raises
    ------
    DataError
        If there are no class folders, or the held-out split has a class that train lacks.
    """
    folders, _ = _children(root)
    named = [folder for folder in folders if split_of(folder.name) and _children(folder)[0]]
    if "train" in {split_of(folder.name) for folder in named}:
        return _read_splits(root, named, [folder for folder in folders if folder not in named])
    if named and len(named) == len(folders):
        raise DataError(
            f"{root} has {' and '.join(folder.name + '/' for folder in named)} but no train/.",
            f"Add {root / 'train'} with a folder for each class, or give {named[0]} itself.",
        )
    return _dataset(root, {"": [_read_split(root)]}, [])


def _read_splits(root: Path, named: Sequence[Path], others: Sequence[Path]) -> Dataset:
    warnings = [_unused(folder) for folder in others]
    found = [(str(split_of(folder.name)), _read_split(folder)) for folder in named]
    roles = {role for role, split in found if split.files}
    test = held_out_split(roles)
    if roles == {"train", "val", "test"}:
        warnings.append("Of val/ and test/, test/ is held out; val/ joins the training split.")
    splits: dict[str, list[_Split]] = {}
    for role, split in found:
        splits.setdefault("test" if role == test else "train", []).append(split)
    if test not in roles:
        splits = {"": [split for _, split in found]}
    beside = len(_children(root)[1])
    return _dataset(root, splits, warnings, ignored=beside)


def _unused(folder: Path) -> str:
    if split_of(folder.name):
        return f"{folder.name}/ has no class folders, so it is not used."
    return f"{folder.name}/ lies beside train/, so it is not used."


def _read_split(root: Path) -> _Split:
    """List the files of every class folder directly below `root`."""
    folders, ignored = _children(root)
    if not folders:
        raise _no_class_folders(root)
    split = _Split({}, [], len(ignored))
    for folder in folders:
        found = scan(folder)
        split.ignored += found.ignored
        if found.files:
            split.files[folder.name] = found.files
        else:
            split.empty.append(folder)
    return split


def _children(root: Path) -> tuple[list[Path], list[Path]]:
    """The folders directly below `root` in natural order, and everything else there."""
    try:
        children = sorted(root.iterdir(), key=lambda path: natural_key(path.name))
    except OSError:
        scan(root)  # says what is wrong with it
        raise
    folders = [path for path in children if not is_litter(path.name) and path.is_dir()]
    return folders, sorted(set(children) - set(folders))


def _no_class_folders(root: Path) -> DataError:
    files = scan(root).files
    if not files:
        return DataError(f"The folder {root} is empty.", _LAYOUT.format(root))
    return DataError(
        f"{root} has {len(files)} file{'s' if len(files) > 1 else ''} but no class folders.",
        f"{_LAYOUT.format(root)} Or give a table with the columns path and label.",
    )


def _dataset(
    root: Path, splits: dict[str, list[_Split]], warnings: Sequence[str], ignored: int = 0
) -> Dataset:
    """Put the splits together, with the classes of the training split in natural order."""
    everything = [split for several in splits.values() for split in several]
    training = splits.get("train", everything)
    classes = sorted({name for split in training for name in split.files}, key=natural_key)
    if not classes:
        raise DataError(f"The class folders of {root} are all empty.", _LAYOUT.format(root))
    unknown = [name for split in splits.get("test", []) for name in split.files if name not in classes]
    if unknown:
        raise _unknown_classes(root, unknown, classes)
    rows = [
        (path, classes.index(name), role)
        for role, several in splits.items()
        for split in several
        for name in sorted(split.files, key=natural_key)
        for path in split.files[name]
    ]
    empty = [f"The class folder {folder} is empty." for split in everything for folder in split.empty]
    return Dataset(
        root=str(root),
        paths=tuple(path for path, _, _ in rows),
        labels=np.array([label for _, label, _ in rows], dtype=np.int64),
        classes=tuple(classes),
        splits=np.array([role for _, _, role in rows]) if "test" in splits else None,
        splits_from="folders" if "test" in splits else "",
        ignored=ignored + sum(split.ignored for split in everything),
        warnings=(*warnings, *empty),
    )


def _unknown_classes(root: Path, unknown: Sequence[str], classes: Sequence[str]) -> DataError:
    """The error for held-out classes that are not trained on, with the names that may have been meant."""
    plain = {name.strip().casefold(): name for name in classes}
    guesses = []
    for name in unknown:
        near = difflib.get_close_matches(name.strip().casefold(), plain, n=1)
        guesses.append(f"{name!r} (is it train's {plain[near[0]]!r}?)" if near else repr(name))
    return DataError(
        f"The held-out split of {root} has classes that the training split lacks: {', '.join(guesses)}.",
        "Rename their folders to match, add training images for them, or take them out.",
    )
