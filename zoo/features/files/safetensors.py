"""A safetensors file, written row by row: eight bytes of length, a JSON header, the tensors."""

import json
from pathlib import Path
from typing import Any

from zoo.errors import DataError
from zoo.features.files.table import Table

__all__ = ["write"]

#: The longest header that the library reads.
LONGEST = 100_000_000


def write(path: Path, table: Table) -> None:
    """Write ``X`` (n, d) float32, or a tensor a tap, and ``y`` (n,) int64; the rest is metadata.

    Raises DataError if there are so many paths that no reader would take the header.
    """
    header = _header(table)
    if len(header) > LONGEST:
        raise DataError("A .safetensors file cannot hold so many paths.", "Write an .npz file.")
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in table.widths:
            for rows in table.array(name):
                file.write(rows.astype("<f4", copy=False).tobytes())
        file.write(table.y.astype("<i8").tobytes())


def _header(table: Table) -> bytes:
    metadata = {
        "classes": json.dumps(table.classes, ensure_ascii=False),
        "paths": json.dumps(table.paths, ensure_ascii=False),
        "model": table.model,
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    shapes = {name: ("F32", 4, [len(table), width]) for name, width in table.widths.items()}
    shapes["y"] = ("I64", 8, [len(table)])
    start = 0
    for name, (dtype, size, shape) in shapes.items():
        end = start + size * len(table) * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    content = json.dumps(header, ensure_ascii=False).encode()
    return content + b" " * (-len(content) % 8)  # so that the tensors are aligned
