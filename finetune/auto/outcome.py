"""What came of a candidate, kept in the folder of an unfinished run until the run is written."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.auto.candidates import Candidate
from finetune.evaluation.calibration import log_losses
from finetune.evaluation.intervals import AccuracyInterval, accuracy_interval
from zoo.writing import atomic_file

__all__ = ["Outcome", "Results", "Skipped"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A candidate that was tried.

    Attributes
    ----------
    candidate : Candidate
    rows : (m,) int array
        The training images that it is judged on: all of them, or those of a training's inner part.
    scores : (m, c) array
        Their calibrated scores by classifiers that were not fitted to them.
    cost : float
        Thousand million multiply-adds to predict an image.
    seconds : float
        To choose and fit.
    milliseconds : float
        To predict an image.
    status : str
        ``tried``, or ``dropped`` where it was given up early.
    reason : str
        Why it was dropped.
    """

    candidate: Candidate
    rows: NDArray[np.int64]
    scores: NDArray[np.floating[Any]]
    cost: float
    seconds: float
    milliseconds: float
    status: Literal["tried", "dropped"] = "tried"
    reason: str = ""

    def losses(self, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the log loss of each row, given the labels of all training images."""
        return log_losses(self.scores, labels[self.rows], 1.0)

    def correct(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each row is predicted correctly."""
        return np.asarray(self.scores.argmax(axis=1) == labels[self.rows])

    def accuracy(self, labels: NDArray[np.int64], groups: NDArray[Any] | None) -> AccuracyInterval:
        """Return the accuracy on the rows with its interval."""
        return accuracy_interval(self.correct(labels), None if groups is None else groups[self.rows])

    def dropped(self, reason: str) -> "Outcome":
        """Return the same as one that was given up."""
        return replace(self, status="dropped", reason=reason)

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of some training images among the rows, which hold them all."""
        place = np.empty(self.rows.max() + 1, np.int64)
        place[self.rows] = np.arange(len(self.rows))
        return place[rows]


class Skipped(NamedTuple):
    """What was not tried, and why."""

    name: str
    reason: str


class Results:
    """The outcomes so far, each in a file of its own, and the time that they took.

    Parameters
    ----------
    folder : Path
        Of the unfinished run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._time = folder / "spent.txt"

    @property
    def spent(self) -> float:
        """Seconds that earlier processes have used."""
        try:
            return float(self._time.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0.0

    def note_time(self, seconds: float) -> None:
        """Write down how many seconds have been used."""
        with atomic_file(self._time) as temporary:
            temporary.write_text(f"{seconds:.1f}", encoding="utf-8")

    def find(self, candidate: Candidate) -> Outcome | None:
        """Return a candidate's outcome, if it is there and whole."""
        from safetensors import SafetensorError, safe_open

        path = self._path(candidate)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="np") as file:
                about = json.loads(file.metadata()["outcome"])
                return Outcome(candidate, file.get_tensor("rows"), file.get_tensor("scores"), **about)
        except (SafetensorError, KeyError, ValueError):
            return None  # damaged: it is tried again

    def store(self, outcome: Outcome) -> None:
        """Write an outcome, whole or not at all."""
        from safetensors.numpy import save

        names = ("cost", "seconds", "milliseconds", "status", "reason")
        about = {name: getattr(outcome, name) for name in names}
        arrays = {"rows": outcome.rows, "scores": np.ascontiguousarray(outcome.scores)}
        with atomic_file(self._path(outcome.candidate)) as temporary:
            temporary.write_bytes(save(arrays, metadata={"outcome": json.dumps(about)}))

    def checkpoints(self, candidate: Candidate) -> Path:
        """Return the folder for a training's checkpoints."""
        return self._folder / candidate.key

    def _path(self, candidate: Candidate) -> Path:
        return self._folder / f"{candidate.key}.safetensors"
