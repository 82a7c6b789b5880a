"""From a finished run to an export that answers as the run does, or to no export at all."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import OptionError, RunError
from finetune.runs.record import Run
from zoo.writing import atomic_folder

if TYPE_CHECKING:
    from finetune.export.source import Source

__all__ = ["FORMATS", "Exported", "export"]


@dataclass(frozen=True)
class Format:
    """A kind of export.

    Attributes
    ----------
    file : str
        The file to open.
    writer : str
        The module that writes it.
    summary : str
        What opens it.
    """

    file: str
    writer: str
    summary: str


#: To add a format, write its module with a function ``write(source, folder)`` and name it here.
FORMATS = {
    "onnx": Format("model.onnx", "finetune.export.onnx_file", "one file for ONNX Runtime"),
    "torch": Format("model.pt2", "finetune.export.torch_program", "a program that torch alone loads"),
    "page": Format("page.html", "finetune.export.page", "one page that classifies in a browser, offline"),
    "timm": Format("config.json", "finetune.export.timm_folder", "a folder that timm opens"),
    "hub": Format("README.md", "finetune.export.hub_folder", "a repository folder for the Hugging Face Hub"),
}

#: All that may lie in an export; a folder with anything else in it is never replaced.
_PARTS = {
    "golden.npz",
    "model.onnx",
    "model.pt2",
    "page.html",
    "config.json",
    "model.safetensors",
    "README.md",
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    format : str
    path : Path
        The file to open; of ``timm`` and ``hub``, the folder.
    size : int
        Bytes of all files but the golden images.
    golden : int
        How many golden images lie beside it.
    differences : dict of str to float
        Greatest difference in probability from the run, by what computed it.
    notes : list of str
        What else to know.
    int8 : dict or None
        What 8-bit integers cost and save, where they were asked for.
    """

    format: str
    path: Path
    size: int
    golden: int
    differences: dict[str, float]
    notes: list[str]
    int8: dict[str, Any] | None = None


def export(
    run: str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    data: str | os.PathLike[str] | None = None,
    int8: bool = False,
    force: bool = False,
    log: Callable[[str], None] | None = None,
) -> Exported:
    """Write a finished run's classifier for other programs.

    Sixteen training images lie beside it with their probabilities (``golden.npz``). Where what was written
    disagrees with the run about one of them by more than 1e-4, nothing is written.

    Parameters
    ----------
    run : path
        A run folder.
    format : str
        One of `FORMATS`.
    out : path, optional
        The folder to write; by default ``RUN-FORMAT``, beside the run.
    overwrite : bool, optional
        Replace an earlier export there.
    data : path, optional
        Where the run's images lie now, if they were moved.
    int8 : bool, optional
        With ``onnx``: compute in 8-bit integers, and measure what that costs on the held-out images.
    force : bool, optional
        Write it even if it loses more than a point of accuracy.
    log : callable, optional
        Takes a line about what is being done.

    Returns
    -------
    Exported

    Raises
    ------
    RunError
        If the run is missing or foreign, its images cannot be read, the place is taken, the export disagrees
        with the run, or the disk is full.
    OptionError
        If there is no such format, or it has no 8-bit form.

    Examples
    --------
    >>> export("runs/first", "onnx").path  # doctest: +SKIP
    PosixPath('runs/first-onnx/model.onnx')
    """
    if format not in FORMATS:
        raise OptionError(f"There is no format {format!r}.", f"Choose from {', '.join(FORMATS)}.")
    if int8 and format != "onnx":
        raise OptionError(f"--format {format} has no 8-bit form.", "Use --format onnx with --int8.")
    place = _place(Run.load(run), format, out, overwrite)
    from finetune.export.source import Source

    source = Source(run, data, log or _silent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(place, replace=overwrite) as folder:
            found = _write(source, format, folder, int8, force)
            if format != "hub":  # What lies in a repository is published, and golden images are the user's.
                source.golden.save(folder)
            size = sum(file.stat().st_size for file in folder.iterdir() if file.name != "golden.npz")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise RunError(
            "The disk is full: nothing was exported."
            if full
            else f"{place} cannot be written ({error.strerror or error}).",
            "Free some space, or choose another --out." if full else "Choose another --out.",
        ) from error
    path = place if format in ("timm", "hub") else place / FORMATS[format].file
    return Exported(format, path, size, len(source.golden.images), found, source.notes, source.int8)


def _write(source: "Source", format: str, folder: Path, int8: bool, force: bool) -> dict[str, float]:
    differences: dict[str, float] = import_module(FORMATS[format].writer).write(source, folder)
    if int8:
        from finetune.export.int8 import replace_by_int8

        source.int8, gap = replace_by_int8(source, folder, force)
        return {"ONNX Runtime": gap}
    return differences


def _place(run: Run, format: str, out: str | os.PathLike[str] | None, overwrite: bool) -> Path:
    """Where to write; refused before any work if something else lies there."""
    place = run.path.with_name(f"{run.path.resolve().name}-{format}") if out is None else Path(out)
    if not os.path.lexists(place):
        return place
    if not place.is_dir():
        raise RunError(f"{place} is a file.", "Choose another --out: an export is a folder.")
    names = {entry.name for entry in place.iterdir()}
    if not names:
        return place
    ours = "golden.npz" in names or names == {"README.md", "config.json", "model.safetensors"}
    if not (names <= _PARTS and ours):
        raise RunError(f"{place} holds other files and is no export.", "Choose another --out.")
    if not overwrite:
        raise RunError(f"{place} exists.", "Choose another --out, or add --overwrite to replace it.")
    return place


def _silent(line: str) -> None:
    """Log nothing."""
