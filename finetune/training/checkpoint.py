"""Checkpoints: what a training that was stopped continues from.

A fit consists of several trainings: one for each learning rate and fold that is tried, and the final one.
Each has one file, always replaced as a whole, with the tensors that the next update depends on and, as the
file's metadata, how far the training is.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from finetune.errors import RunError
from zoo.reading import parse_json
from zoo.writing import atomic_file

__all__ = ["Checkpoint", "Checkpoints"]


class Checkpoint:
    """The file of one training.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    seconds : float, optional
        How often it is written, besides at the end of each epoch.
    writes : bool, optional
        Whether this process writes it, or only reads what another wrote.
    """

    def __init__(self, path: Path | None = None, seconds: float = 60.0, writes: bool = True) -> None:
        self._path = path
        self._seconds = seconds
        self._writes = writes and path is not None
        self._written = time.monotonic()

    def read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return the tensors and the progress that were written last; None if nothing was.

        Raises
        ------
        RunError
            If the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if self._path is None or not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return tensors, dict(parse_json(file.metadata()["progress"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> RunError:
        """Return the error for a file that does not hold what it should."""
        return RunError(
            f"{self._path} is damaged or of another version ({type(error).__name__}: {error}).",
            "Delete this file: its training then starts again.",
        )

    def due(self) -> bool:
        """Return whether enough time has passed since it was written."""
        return self._writes and time.monotonic() - self._written >= self._seconds

    def write(self, tensors: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
        """Replace the file; there is always a complete one."""
        from safetensors.torch import save

        if self._path is None or not self._writes:
            return
        with atomic_file(self._path) as temporary:
            temporary.write_bytes(save(tensors, metadata={"progress": json.dumps(progress)}))
        self._written = time.monotonic()


class Checkpoints:
    """A folder of checkpoints.

    Parameters
    ----------
    folder : Path or None
        Created if needed; None keeps nothing.
    minutes, writes
        As for :class:`Checkpoint`.
    """

    def __init__(self, folder: Path | None = None, minutes: float = 1.0, writes: bool = True) -> None:
        self._folder = folder
        self._seconds = 60 * minutes
        self._writes = writes
        if folder is not None and writes:
            folder.mkdir(parents=True, exist_ok=True)

    def named(self, name: str) -> Checkpoint:
        """Return the checkpoint of the training of this name."""
        path = None if self._folder is None else self._folder / f"{name}.safetensors"
        return Checkpoint(path, self._seconds, self._writes)
