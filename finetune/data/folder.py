"""Labels from folder names: ``DIR/<class>/*``, or ``DIR/train/<class>/*`` beside ``val`` or ``test``."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data.dataset import Dataset
from zoo.errors import DataError
from zoo.images.scan import is_litter, natural_key, scan

__all__ = ["PARTS", "held_out_part", "read_folder"]

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What people call the parts of a data set, in lower case, and what we call them."""

_LAYOUT = "Put the images of each class into a folder of their own, like {0}/cats/1.jpg and {0}/dogs/1.jpg."


@dataclass
class _Part:
    """The class folders of one part: their files by class name, and what else was met."""

    files: dict[str, tuple[Path, ...]]
    empty: list[Path]
    ignored: int


def read_folder(root: Path) -> Dataset:
    """Read a folder whose folders are the classes, or the parts with the classes in them.

    A class is a first-level folder; what lies deeper belongs to it. Where both ``val`` and ``test``
    exist, ``test`` is held out and ``val`` joins the training part.

    Parameters
    ----------
    root : Path
        An existing folder.

    Returns
    -------
    Dataset
        Its counts unchecked (`finetune.data.dataset.check_counts` does that).

    Raises
    ------
    DataError
        If there are no class folders, or the held-out part has a class that train lacks.
    """
    folders, _ = _children(root)
    named = [folder for folder in folders if folder.name.casefold() in PARTS and _children(folder)[0]]
    roles = {PARTS[folder.name.casefold()] for folder in named}
    if "train" in roles:
        return _read_parts(root, named, [folder for folder in folders if folder not in named])
    if named and len(named) == len(folders):
        raise DataError(
            f"{root} has {' and '.join(folder.name + '/' for folder in named)} but no train/.",
            f"Add {root / 'train'} with a folder for each class, or give {named[0]} itself.",
        )
    return _dataset(root, {"": [_read_part(root)]}, [])


def held_out_part(roles: Iterable[str]) -> str:
    """Which of the parts ``val`` and ``test`` is held out: test if there is one."""
    return "test" if "test" in set(roles) else "val"


def _read_parts(root: Path, named: Sequence[Path], others: Sequence[Path]) -> Dataset:
    warnings = [_unused(folder) for folder in others]
    found = [(PARTS[folder.name.casefold()], _read_part(folder)) for folder in named]
    roles = {role for role, part in found if part.files}
    test = held_out_part(roles)
    if roles == {"train", "val", "test"}:
        warnings.append("Of val/ and test/, test/ is held out; val/ joins the training part.")
    parts: dict[str, list[_Part]] = {}
    for role, part in found:
        parts.setdefault("test" if role == test else "train", []).append(part)
    if test not in roles:
        parts = {"": [part for _, part in found]}
    beside = len(_children(root)[1])
    return _dataset(root, parts, warnings, ignored=beside)


def _unused(folder: Path) -> str:
    if folder.name.casefold() in PARTS:
        return f"{folder.name}/ has no class folders, so it is not used."
    return f"{folder.name}/ lies beside train/, so it is not used."


def _read_part(root: Path) -> _Part:
    """List the files of every class folder directly below `root`."""
    folders, ignored = _children(root)
    if not folders:
        raise _no_class_folders(root)
    part = _Part({}, [], len(ignored))
    for folder in folders:
        found = scan(folder)
        part.ignored += found.ignored
        if found.files:
            part.files[folder.name] = found.files
        else:
            part.empty.append(folder)
    return part


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


def _dataset(root: Path, parts: dict[str, list[_Part]], warnings: Sequence[str], ignored: int = 0) -> Dataset:
    """Put the parts together, with the classes of the training part in natural order."""
    everything = [part for several in parts.values() for part in several]
    training = parts.get("train", everything)
    classes = sorted({name for part in training for name in part.files}, key=natural_key)
    if not classes:
        raise DataError(f"The class folders of {root} are all empty.", _LAYOUT.format(root))
    unknown = [name for part in parts.get("test", []) for name in part.files if name not in classes]
    if unknown:
        raise _unknown_classes(root, unknown, classes)
    rows = [
        (path, classes.index(name), role)
        for role, several in parts.items()
        for part in several
        for name in sorted(part.files, key=natural_key)
        for path in part.files[name]
    ]
    roles = np.array([role for _, _, role in rows])
    empty = [f"The class folder {folder} is empty." for part in everything for folder in part.empty]
    return Dataset(
        root=str(root),
        paths=tuple(path for path, _, _ in rows),
        labels=np.array([label for _, label, _ in rows], dtype=np.int64),
        classes=tuple(classes),
        parts=roles if "test" in parts else None,
        parts_from="folders" if "test" in parts else "",
        ignored=ignored + sum(part.ignored for part in everything),
        warnings=(*warnings, *empty),
    )


def _unknown_classes(root: Path, unknown: Sequence[str], classes: Sequence[str]) -> DataError:
    """The error for held-out classes that are not trained on, with the names that may be meant."""
    plain = {name.strip().casefold(): name for name in classes}
    guesses = []
    for name in unknown:
        near = difflib.get_close_matches(name.strip().casefold(), plain, n=1)
        guesses.append(f"{name!r} (is it train's {plain[near[0]]!r}?)" if near else repr(name))
    return DataError(
        f"The held-out part of {root} has classes that the training part lacks: {', '.join(guesses)}.",
        "Rename their folders to match, add training images for them, or take them out.",
    )
