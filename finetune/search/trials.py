"""What each trial was and came to: one line of JSON each, so that a search can go on after it was stopped."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

__all__ = ["FILE", "FoldResult", "Trial", "TrialLog", "defaults_of"]

#: The lines' file, in an unfinished run and in a finished one.
FILE = "trials.jsonl"


@dataclass(frozen=True)
class FoldResult:
    """How a trial did on one fold's held-out images.

    Attributes
    ----------
    fold : int
    n : int
        Their number.
    loss : float
        Their log loss at the best temperature.
    wrong : list of int
        Rows of the training part that were called wrong.
    """

    fold: int
    n: int
    loss: float
    wrong: list[int]


@dataclass(frozen=True)
class Trial:
    """One training with some values.

    Attributes
    ----------
    number : int
        From 0.
    stage : str
        One of :data:`finetune.search.stages.STAGES`.
    values : dict
        By parameter; what is not in it is the default.
    round : int
        Which of the final stage's rounds; 0 in other stages.
    score : float or None
        Mean log loss over folds, by which trials of a stage are compared; None where the loss was lost.
    accuracy : float or None
        Over the folds' images.
    curve : list of float
        The loss after each epoch, where epochs are looked at.
    stopped : str
        Why it ended early; empty if it did not.
    folds : list of FoldResult
    seconds, elapsed : float
        What it took, and what all trials took until then.
    notes : list of str
        What the search had to say of its ranges at that moment.
    """

    number: int
    stage: str
    values: dict[str, Any]
    round: int = 0
    score: float | None = None
    accuracy: float | None = None
    curve: list[float] = field(default_factory=list)
    stopped: str = ""
    folds: list[FoldResult] = field(default_factory=list)
    seconds: float = 0.0
    elapsed: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The score, infinite where there is none."""
        return math.inf if self.score is None else self.score

    @property
    def key(self) -> str:
        """Equal for equal values."""
        return json.dumps(self.values, sort_keys=True)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """Make a trial of what :meth:`to_dict` gave."""
        return cls(**{**record, "folds": [FoldResult(**fold) for fold in record["folds"]]})

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return dataclasses.asdict(self)


def defaults_of(done: Sequence[Trial], starts: int) -> Trial:
    """Return which of the first trials is that of the defaults: the first whose loss was not lost."""
    return next((t for t in done[:starts] if t.score is not None), done[0])


class TrialLog:
    """Trials in the order in which they were made, in memory and in a file.

    Parameters
    ----------
    folder : Path or None
        Where the file is; None keeps them in memory only. What is in it already was done before.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self.done: list[Trial] = []
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def add(self, trial: Trial) -> None:
        """Append a trial; its line is on the disk when this returns."""
        self.done.append(trial)
        if self._path is None:
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line_of(trial))
            file.flush()
            os.fsync(file.fileno())

    def text(self) -> str:
        """Return all lines."""
        return "".join(map(line_of, self.done))

    def _read(self, path: Path) -> None:
        """Take over whole lines; one that was cut short while it was written is taken out again."""
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        self.done = [Trial.of(json.loads(line)) for line in whole.decode("utf-8").splitlines()]
        if whole != content:
            path.write_bytes(whole)


def line_of(trial: Trial) -> str:
    """Return a trial's line."""
    return json.dumps(trial.to_dict(), allow_nan=False) + "\n"
