"""A Parquet file for pandas, Polars and DuckDB.

An array is one column of fixed-size lists, not a column for each number: a thousand columns make files that
are slow to open, 15,680 (a stage without pooling) some that few tools open at all. A list is what Polars
calls Array and DuckDB FLOAT[n], on which both compute distances; in pandas, ``numpy.stack(df["features"])``
is the matrix.
"""

from pathlib import Path

import numpy as np

from zoo.features.files.table import Table

__all__ = ["write"]


def write(path: Path, table: Table) -> None:
    """Write the columns ``path``, ``label`` and ``features`` (or one for each of several taps).

    The label is a class's name, null for an image in no class folder; classes and model are in the metadata.
    """
    import json

    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    names = ["features"] if len(table.widths) == 1 else list(table.widths)
    widths = list(table.widths.values())
    lists = [pa.list_(pa.float32(), width) for width in widths]
    columns = [("path", pa.string()), ("label", pa.string()), *zip(names, lists, strict=True)]
    about = {"classes": json.dumps(table.classes, ensure_ascii=False), "model": table.model}
    schema = pa.schema(columns, metadata=about)
    labels = [table.classes[i] if i >= 0 else None for i in table.y.tolist()]
    start = 0
    with ParquetWriter(path, schema) as writer:
        for rows in table.rows():
            part = slice(start, start + len(rows))
            pieces = np.split(rows, np.cumsum(widths)[:-1], axis=1)
            arrays = [
                pa.FixedSizeListArray.from_arrays(pa.array(piece.ravel()), width)
                for piece, width in zip(pieces, widths, strict=True)
            ]
            batch = [pa.array(table.paths[part]), pa.array(labels[part], pa.string()), *arrays]
            writer.write_table(pa.Table.from_arrays(batch, schema=schema))
            start += len(rows)
