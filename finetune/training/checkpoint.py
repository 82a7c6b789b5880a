"""What a training that was stopped goes on from.

A training is made of legs: one for each learning rate that is tried, one that finds the number of epochs,
and the last one. Each has one file, replaced whole, with the tensors that its next update depends on and,
as the file's metadata, how far it is and what came of it so far.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from finetune.errors import RunError

__all__ = ["Checkpoints", "Leg"]


class Leg:
    """The file of one leg.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    seconds : float
        How often it is written, but for epochs' ends.
    writes : bool
        Whether this process writes it, or only reads what another wrote.
    """

    def __init__(self, path: Path | None, seconds: float, writes: bool = True) -> None:
        self._path = path
        self._seconds = seconds
        self._writes = writes
        self._written = time.monotonic()

    def read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return what was written last; None if nothing was.

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
                return tensors, json.loads(file.metadata()["progress"])
        except SafetensorError as error:
            raise RunError(
                f"{self._path} is damaged ({error}).", "Delete that file: what it held is trained again."
            ) from error

    def due(self) -> bool:
        """Return whether enough time has passed since it was written."""
        return self._writes and self._path is not None and time.monotonic() - self._written >= self._seconds

    def write(self, tensors: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
        """Replace the file, so that there is always a whole one."""
        from safetensors.torch import save

        if self._path is None or not self._writes:
            return
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        content = save(tensors, metadata={"progress": json.dumps(progress)})
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._written = time.monotonic()


class Checkpoints:
    """A folder of legs.

    Parameters
    ----------
    folder : Path or None
        Made if need be; None keeps nothing.
    minutes : float, optional
        How often a leg is written, but for epochs' ends.
    writes : bool, optional
        Whether this process writes them, or only reads what another wrote.
    """

    def __init__(self, folder: Path | None, minutes: float = 1.0, writes: bool = True) -> None:
        self._folder = folder
        self._seconds = 60 * minutes
        self._writes = writes
        if folder is not None and writes:
            folder.mkdir(parents=True, exist_ok=True)

    def leg(self, name: str) -> Leg:
        """Return the leg of a name."""
        path = None if self._folder is None else self._folder / f"{name}.safetensors"
        return Leg(path, self._seconds, self._writes)
