"""Which kinds of file there are, and how one is written: whole or not at all."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from zoo.errors import DataError
from zoo.features.files import npy, npz, parquet, safetensors
from zoo.features.files.table import Table
from zoo.writing import atomic_file

__all__ = ["SUFFIXES", "check_output", "write_output"]

Writer = Callable[[Path, Table], None]

# By the file's suffix: what is written, each part with what its name has behind the file's own.
_FORMATS: dict[str, dict[str, Writer]] = {
    ".npz": {"": npz.write},
    ".npy": {"": npy.write, ".json": npy.write_about},
    ".parquet": {"": parquet.write},
    ".safetensors": {"": safetensors.write},
}

#: What a file's name may end in.
SUFFIXES = tuple(_FORMATS)


def check_output(path: Path) -> None:
    """Raise a DataError for an output file that cannot be written, before the long work starts."""
    if path.suffix not in _FORMATS:
        raise DataError(
            f"Features cannot be written as {path.name}.",
            f"Give the file a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.",
        )
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise DataError(
            "Writing .parquet needs pyarrow, which is not installed.",
            'Install it with: pip install "finetune-zoo[parquet]", or write an .npz file.',
        )
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "Make it first, or choose another place.")
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise DataError(f"{path} cannot be written.", "Choose another place.")


def write_output(path: Path, table: Table) -> None:
    """Write features to a file, some rows at a time; its suffix says how.

    Raises DataError if it cannot be written; what stood there before then stays.
    """
    check_output(path)
    try:
        # Left in reverse order: where the file itself is, its other parts are too.
        with ExitStack() as stack:
            for ending, write in _FORMATS[path.suffix].items():
                write(stack.enter_context(atomic_file(path.with_name(path.name + ending))), table)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path} cannot be written: {reason}.", "Free some space, or choose another place."
        ) from error
