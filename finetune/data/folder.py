"""Labels from folder names: ``DIR/<class>/*``, or ``DIR/train/<class>/*`` beside ``val`` or ``test``."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data.class_names import differing, match_classes, missing, plain_name
from finetune.data.dataset import Dataset
from finetune.data.notices import MAX_EXAMPLES, Notice
from zoo.errors import DataError
from zoo.images.scan import as_text, is_system_file, natural_key, scan
from zoo.images.split_names import held_out_split, split_of

__all__ = ["read_folder"]

_LAYOUT = "Put the images of each class into a folder of their own, like {0}/cats/1.jpg and {0}/dogs/1.jpg."


@dataclass
class _Split:
    """One split: its files by class name, and what else is there."""

    root: Path  # the folder of the class folders
    files: dict[str, list[Path]]
    inner: dict[str, set[str]]  # for each first-level folder, the folders below it that hold files themselves
    empty: list[Path]  # class folders without files
    beside: list[Path]  # files beside the class folders
    ignored: int  # how many entries were not read


def read_folder(root: Path, labels: str = "top") -> Dataset:
    """Read a folder whose folders are the classes, or the splits with the classes in them.

    Where both ``val`` and ``test`` exist, ``test`` is held out and ``val`` joins the training split.

    Parameters
    ----------
    root : Path
        An existing folder.
    labels : str
        Which folder is the class where class folders hold folders (``fruit/apple/1.jpg``): ``top`` for the
        first (fruit), ``leaf`` for the last (apple), ``path`` for all (fruit/apple).

    Returns
    -------
    Dataset
        Its counts unchecked (`finetune.data.read.check_counts` does that).

    Raises
    ------
    DataError
        If there are no class folders, or the held-out split has a class that train lacks.
    """
    folders, files = _children(root)
    named = [folder for folder in folders if split_of(folder.name) and _children(folder)[0]]
    if "train" in {split_of(folder.name) for folder in named}:
        others = [folder for folder in folders if folder not in named]
        return _read_splits(root, named, others, files, labels)
    if named and len(named) == len(folders):
        raise DataError(
            f"{root} has {' and '.join(folder.name + '/' for folder in named)} but no train/.",
            f"Add {root / 'train'} with a folder for each class, or give {named[0]} itself.",
        )
    return _dataset(root, {"": [_read_split(root, labels)]}, [], labels)


def _read_splits(
    root: Path, named: Sequence[Path], others: Sequence[Path], beside: list[Path], labels: str
) -> Dataset:
    found = [(str(split_of(folder.name)), _read_split(folder, labels)) for folder in named]
    found.sort(key=lambda item: item[0] != "train")  # its class names are the ones to go by
    roles = {role for role, split in found if split.files}
    test = held_out_split(roles)
    notices = _unused(others)
    if roles == {"train", "val", "test"}:
        joined = [split.root.name for role, split in found if role == "val"]
        message = "Of val/ and test/, test/ is held out; val/ joins the training split."
        notices.append(Notice("splits", len(joined), tuple(joined), message))
    splits: dict[str, list[_Split]] = {}
    for role, split in found:
        splits.setdefault("test" if role == test else "train", []).append(split)
    if test not in roles:
        splits = {"": [split for _, split in found]}
    found[0][1].beside += [path for path in beside if not is_system_file(path.name)]
    found[0][1].ignored += len(beside)
    return _dataset(root, splits, notices, labels)


def _unused(folders: Sequence[Path]) -> list[Notice]:
    if not folders:
        return []
    names = [f"{folder.name}/" for folder in folders]
    one, many = "folder lies beside train/ and is not used", "folders lie beside train/ and are not used"
    then = ""
    if any(split_of(folder.name) for folder in folders):
        then = "A split needs a folder for each class."
    return [Notice.about("unused folders", names, one, many, then)]


def _read_split(root: Path, labels: str) -> _Split:
    """List the files of every class below `root`."""
    folders, others = _children(root)
    if not folders:
        raise _no_class_folders(root)
    beside = [path for path in others if path.is_file() and not is_system_file(path.name)]
    split = _Split(root, {}, {}, [], beside, len(others))
    for folder in folders:
        found = scan(folder)
        split.ignored += found.ignored
        if not found.files:
            split.empty.append(folder)
        for path in found.files:
            inner = path.parent.relative_to(root).as_posix()
            split.files.setdefault(_class_of(inner, labels), []).append(path)
            split.inner.setdefault(folder.name, set()).update({inner} - {folder.name})
    return split


def _class_of(inner: str, labels: str) -> str:
    """The class of an image from the folder it is in, relative to the split's."""
    if labels == "path":
        return as_text(inner)
    return as_text(inner.split("/")[0 if labels == "top" else -1])


def _children(root: Path) -> tuple[list[Path], list[Path]]:
    """The folders directly below `root` in natural order, and everything else there."""
    try:
        children = sorted(root.iterdir(), key=lambda path: natural_key(path.name))
    except OSError:
        scan(root)  # says what is wrong with it
        raise
    folders = [path for path in children if not is_system_file(path.name) and path.is_dir()]
    return folders, [path for path in children if path not in set(folders)]


def _no_class_folders(root: Path) -> DataError:
    files = scan(root).files
    if not files:
        return DataError(f"The folder {root} is empty.", _LAYOUT.format(root))
    return DataError(
        f"{root} has {len(files)} file{'s' if len(files) > 1 else ''} but no class folders.",
        f"{_LAYOUT.format(root)} Or give a table with the columns path and label.",
    )


def _dataset(root: Path, splits: dict[str, list[_Split]], notices: list[Notice], labels: str) -> Dataset:
    """Put the splits together, with the classes of the training split in natural order."""
    everything = [split for several in splits.values() for split in several]
    training = splits.get("train", everything)
    names = _training_classes(training)
    classes = sorted(set(names.values()), key=natural_key)
    if not classes:
        raise DataError(f"The class folders of {root} are all empty.", _LAYOUT.format(root))
    if "test" in splits:
        held_out = {name: None for split in splits["test"] for name in split.files}
        matched = match_classes(classes, held_out, str(root))
        notices = [*notices, *missing(classes, matched.values())]
        names |= matched
    rows = [
        (path, classes.index(names[name]), role)
        for role, several in splits.items()
        for split in several
        for name in sorted(split.files, key=natural_key)
        for path in split.files[name]
    ]
    return Dataset(
        root=str(root),
        paths=tuple(path for path, _, _ in rows),
        labels=np.array([label for _, label, _ in rows], dtype=np.int64),
        classes=tuple(classes),
        splits=np.array([role for _, _, role in rows]) if "test" in splits else None,
        splits_from="folders" if "test" in splits else "",
        ignored=sum(split.ignored for split in everything),
        notices=(*notices, *differing(names), *_layout_notices(root, everything, labels)),
    )


def _training_classes(splits: Sequence[_Split]) -> dict[str, str]:
    """The class of each name in the training splits: the first split's spelling counts."""
    names: dict[str, str] = {}
    for split in splits:
        known = {plain_name(name): name for name in names.values()}
        names |= {name: known.get(plain_name(name), name) for name in split.files if name not in names}
    return names


def _layout_notices(root: Path, splits: Sequence[_Split], labels: str) -> Iterator[Notice]:
    """Notices about folders and files that are not images of a class."""
    beside = [path.relative_to(root).as_posix() for split in splits for path in split.beside]
    if beside:
        one, many = "file lies beside the class folders and is", "files lie beside the class folders and are"
        yield Notice.about("ignored files", beside, f"{one} ignored", f"{many} ignored")
    empty = [folder.relative_to(root).as_posix() for split in splits for folder in split.empty]
    if empty:
        yield Notice.about("empty folders", empty, "class folder is empty", "class folders are empty")
    inner = {name for split in splits for several in split.inner.values() for name in several}
    if labels == "top" and inner:
        yield _nested(inner)
    if labels == "leaf":
        yield from _merged(inner)


def _nested(inner: set[str]) -> Notice:
    below = sorted(inner, key=natural_key)
    tops = len({name.split("/")[0] for name in inner})
    what = f"{tops} class folder{' holds' if tops == 1 else 's hold'} {len(below)} folder"
    return Notice(
        "nested folders",
        len(below),
        tuple(below[:MAX_EXAMPLES]),
        f"{what}{'s' if len(below) > 1 else ''} with images ({', '.join(below[:2])}"
        f"{', …' if len(below) > 2 else ''}). "
        "--labels leaf makes each of them a class, --labels path names it by its whole path.",
    )


def _merged(inner: set[str]) -> Iterator[Notice]:
    """Folders of one name in several places, which are one class."""
    counts = Counter(name.split("/")[-1] for name in inner)
    several = sorted((name for name, count in counts.items() if count > 1), key=natural_key)
    if several:
        yield Notice.about(
            "merged folders",
            several,
            "name is that of several folders, which are one class",
            "names are each that of several folders, which are one class",
            "--labels path keeps them apart.",
        )
