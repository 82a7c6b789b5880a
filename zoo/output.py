"""Features as a file that other tools can open."""

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError
from zoo.features import Features

__all__ = ["check_output", "labels_by_folder", "write_features"]

_PARTS = frozenset({"train", "val", "valid", "validation", "test"})


def labels_by_folder(paths: list[Path], root: Path) -> tuple[NDArray[np.int64], list[str]]:
    """Label images by the folder they are in.

    Parameters
    ----------
    paths : list of Path
        Images below `root`.
    root : Path
        Their folder. Its first-level folders are the classes; where these are ``train``, ``val`` and
        the like, the second-level ones are.

    Returns
    -------
    y : (n,) int array
        Indices into the classes; -1 for an image that is in no class folder.
    classes : list of str
        In the order of their first image.
    """
    places = [path.relative_to(root).parts[:-1] for path in paths]
    parted = all(place[:1] and place[0].lower() in _PARTS for place in places)
    names = [place[1:2] if parted else place[:1] for place in places]
    classes = list(dict.fromkeys(name[0] for name in names if name))
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name[0]] if name else -1 for name in names], dtype=np.int64), classes


def check_output(path: Path) -> None:
    """Refuse an output file that cannot be written, before the long work starts.

    Raises
    ------
    DataError
        For an unknown suffix, or a folder that is missing or not writable.
    """
    if path.suffix != ".npz":
        raise DataError(
            f"Features cannot be written as {path.name}.", "Give the file a name that ends in .npz."
        )
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "Make it first, or choose another place.")
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise DataError(f"{path} cannot be written.", "Choose another place.")


def write_features(path: Path, features: Features, root: Path, model: str) -> list[str]:
    """Write features with their labels as a NumPy archive.

    It holds ``X`` (n, d) float32, ``y`` (n,) int64, ``classes``, ``paths`` relative to `root`, and
    ``model``: JSON with the model's name and everything the features depend on. It is written whole or
    not at all, and holds no pickled objects.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``.
    features : Features
    root : Path
        The images' folder.
    model : str
        The name the model was asked for by.

    Returns
    -------
    list of str
        The classes.
    """
    y, classes = labels_by_folder(features.paths, root)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(
                file,
                X=features.X,
                y=y,
                classes=np.array(classes, dtype=np.str_),
                paths=np.array([p.relative_to(root).as_posix() for p in features.paths], dtype=np.str_),
                model=np.array(json.dumps({"name": model, **features.identity}, sort_keys=True)),
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return classes
