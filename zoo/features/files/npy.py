"""NumPy's file of one array, which can be mapped into memory, with a JSON file beside it for all else."""

import json
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from zoo.features.files.table import Table

__all__ = ["write", "write_about", "write_array"]


def write(path: Path, table: Table) -> None:
    """Write the features, (n, d) float32; several taps stand side by side."""
    with open(path, "wb") as file:
        shape = (len(table), sum(table.widths.values()))
        write_array(file, np.dtype(np.float32), shape, table.rows())


def write_about(path: Path, table: Table) -> None:
    """Write the rest as JSON: ``y``, ``classes``, ``paths``, ``model``, each array's columns."""
    ends = list(accumulate(table.widths.values()))
    columns = {
        name: [end - width, end] for (name, width), end in zip(table.widths.items(), ends, strict=True)
    }
    about = {
        "columns": columns,
        "classes": table.classes,
        "model": json.loads(table.model),
        "y": table.y.tolist(),
        "paths": table.paths,
    }
    path.write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


def write_array(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...], chunks: Iterable[NDArray]) -> None:
    """Write an array in NumPy's format, some rows at a time; `shape` is that of the whole."""
    header = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, header)
    for chunk in chunks:
        file.write(chunk.tobytes())
