"""What people call the splits of a data set."""

__all__ = ["split_of"]

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
