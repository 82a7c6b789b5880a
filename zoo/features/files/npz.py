"""NumPy's archive, written row by row; ``numpy.load`` reads it, and nothing in it is pickled."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.features.files.npy import write_array
from zoo.features.files.table import Table

__all__ = ["write"]


def write(path: Path, table: Table) -> None:
    """Write ``X`` (n, d) float32 (or an array a tap), ``y`` (n,) int64, ``classes``, ``paths``, ``model``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, width in table.widths.items():
            _member(archive, name, np.float32, (len(table), width), table.array(name))
        for name, values in {
            "y": table.y,
            "classes": np.array(table.classes, dtype=np.str_),
            "paths": np.array(table.paths, dtype=np.str_),
            "model": np.array(table.model),
        }.items():
            _member(archive, name, values.dtype, values.shape, [values])


def _member(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype | type,
    shape: tuple[int, ...],
    chunks: Iterable[NDArray],
) -> None:
    # As numpy.savez does: without force_zip64, a member of which the size is not known may have 2 GB.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        write_array(file, np.dtype(dtype), shape, chunks)
