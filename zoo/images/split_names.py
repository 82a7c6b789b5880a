"""What people call the splits of a data set, for folders and for the column of a table alike."""

from collections.abc import Iterable

__all__ = ["held_out_split", "split_of"]

_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "tst", "holdout", "hold-out", "hold_out", "held-out", "held_out"),
}
_SPLITS = {name: split for split, names in _NAMES.items() for name in names}


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` for any of their usual names in any case, else None.

    >>> split_of("Validation"), split_of("cats")
    ('val', None)
    """
    return _SPLITS.get(name.strip().casefold())


def held_out_split(splits: Iterable[str]) -> str:
    """Return which of the splits ``val`` and ``test`` is held out: ``test`` if there is one."""
    return "test" if "test" in set(splits) else "val"
