"""Which kinds of file there are, and how one is written: whole or not at all."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from zoo.errors import DataError
from zoo.features.files import npy, npz, parquet, safetensors
from zoo.features.files.table import Table

__all__ = ["SUFFIXES", "check_output", "write_output"]

Writer = Callable[[Path, Table], None]

# By the file's suffix: what is written, each part with what its name has behind the file's own. The file
# itself comes last, so that where it is, the other parts are too.
_FORMATS: dict[str, dict[str, Writer]] = {
    ".npz": {"": npz.write},
    ".npy": {".json": npy.write_about, "": npy.write},
    ".parquet": {"": parquet.write},
    ".safetensors": {"": safetensors.write},
}

#: What a file's name may end in.
SUFFIXES = tuple(_FORMATS)


def check_output(path: Path) -> None:
    """Refuse an output file that cannot be written, before the long work starts.

    Parameters
    ----------
    path : Path
        The file that is to be written.

    Raises
    ------
    DataError
        For an unknown suffix, one whose package is missing, or a folder that is missing or not writable.
    """
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
    """Write features to a file, some rows at a time.

    Parameters
    ----------
    path : Path
        Its suffix says how. What stood there before stays until all is written.
    table : Table
        What is written.

    Raises
    ------
    DataError
        If it cannot be written, for the disk is full for instance. Nothing is left behind.
    """
    check_output(path)
    with ExitStack() as stack:
        ready = []
        try:
            for ending, write in _FORMATS[path.suffix].items():
                place = path.with_name(path.name + ending)
                temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
                stack.callback(temporary.unlink, missing_ok=True)
                write(temporary, table)
                ready.append((temporary, place))
            for temporary, place in ready:
                temporary.replace(place)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(
                f"{path} cannot be written: {reason}.", "Free some space, or choose another place."
            ) from error
