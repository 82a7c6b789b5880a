"""The checkpoints of a run that trains for long, until it is finished.

``RUN.unfinished/``, beside the run's place, holds the checkpoints and ``request.json``, what the run is made
from. It is there from the first checkpoint to the run's end, however the process ends.
"""

import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from finetune.errors import RunError
from zoo.errors import DataError
from zoo.reading import read_json
from zoo.writing import write_text

__all__ = ["Unfinished"]

_SCHEMA = 1


class Unfinished:
    """The folder of an unfinished run; while a process trains, it holds its lock.

    Parameters
    ----------
    run : path
        The run's place.

    Attributes
    ----------
    folder : Path
        Where checkpoints lie.
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        place = Path(run)
        self.run = place.with_name(place.name.removesuffix(".unfinished"))
        self.folder = self.run.with_name(f"{self.run.name}.unfinished")
        self._request = self.folder / "request.json"

    def exists(self) -> bool:
        """Return whether there is something to continue from."""
        return self._request.exists()

    def begin(self, request: dict[str, Any]) -> None:
        """Make the folder and record the request.

        Raises
        ------
        RunError
            If it is there already: what it holds took time, and is not thrown away unasked.
        """
        if self.exists():
            raise RunError(
                f"{self.folder} holds a training that was not finished.",
                f"Continue it: finetune resume {self.run}. Or delete that folder to start again.",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self._request, json.dumps({"schema": _SCHEMA, **request}, indent=1))
        except OSError as error:
            raise RunError(
                f"{self.folder} cannot be written ({error.strerror or error}).", "Choose another --out."
            ) from error

    def request(self) -> dict[str, Any]:
        """Return the request.

        Raises
        ------
        RunError
            If there is no unfinished training, or it is damaged or of another version.
        """
        if not self.exists():
            if (self.run / "run.json").exists():
                raise RunError(
                    f"{self.run} is finished: there is nothing to continue.",
                    "Train again with finetune, and another --out.",
                )
            raise RunError(
                f"{self.run} is not an interrupted training: there is no {self.folder}.",
                "Name the run's folder as it was printed when the training began.",
            )
        try:
            found = read_json(self._request)
            if not isinstance(found, dict) or found.pop("schema", None) != _SCHEMA:
                raise ValueError("another schema")
        except (OSError, ValueError) as error:
            raise self.damaged() from error
        return dict(found)

    def damaged(self) -> RunError:
        """Return the error for a request that does not say what it should."""
        return RunError(
            f"{self._request} is damaged or of another version.",
            f"Start again with finetune, with another --out or after {self.folder} is deleted.",
        )

    def hold_to(self, fingerprint: str) -> None:
        """Record what the images are; when resuming, make sure that they are the same.

        Raises
        ------
        DataError
            If they are not.
        """
        noted = self.folder / "data.txt"
        if not noted.exists():
            write_text(noted, fingerprint)
        elif noted.read_text(encoding="utf-8") != fingerprint:
            raise DataError(
                "The images are not those that the training began with.",
                f"Put them back, or delete {self.folder} and start again.",
            )

    def has_checkpoints(self) -> bool:
        """Return whether any training was done that can be continued."""
        return any(self.folder.glob("*.safetensors")) or (self.folder / "search.journal").exists()

    def remove(self) -> None:
        """Remove the folder, when the run is finished or nothing came of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Take the lock, which goes with the process however it ends."""
        import filelock

        self._lock = filelock.FileLock(self.folder / "lock", timeout=0)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise RunError(
                f"Another process is training {self.run}.", "Wait until it has ended, or stop it."
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; checkpoints are kept if there are any and the run is not finished."""
        self._lock.release()
        if kind is None or not self.has_checkpoints():
            self.remove()
