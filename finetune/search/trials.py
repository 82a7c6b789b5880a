"""What a trial was and what came of it: one line of ``trials.jsonl`` each."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.heads.descent import Diverged
from finetune.method import Task

__all__ = ["TRIALS", "FoldResult", "Trial", "evaluate_fold", "read_trials", "to_lines"]

#: The file's name in a run folder.
TRIALS = "trials.jsonl"


@dataclass(frozen=True)
class FoldResult:
    """How good some options were on one fold's held-out images.

    Attributes
    ----------
    fold : int
    n : int
        Number of images.
    loss : float
        Their log loss at the best temperature.
    wrong : list of int
        Rows of the training split that were predicted wrong.
    """

    fold: int
    n: int
    loss: float
    wrong: list[int]


@dataclass(frozen=True)
class Trial:
    """One training, or in the final stage one cross-validation, with some options.

    Attributes
    ----------
    number : int
        From 0.
    stage : str
        ``default``: the method's own defaults. ``search``: drawn. ``final``: the best of both again, on
        more folds.
    state : str
        ``complete``; ``pruned``, stopped early because others were better; or ``diverged``.
    params : dict
        The options tried, by name; what is not in it is the default.
    folds : list of FoldResult
        Empty unless complete.
    curve : list of float
        Loss on the first fold's held-out images after each epoch, where there are epochs.
    seconds : float
    """

    number: int
    stage: Literal["default", "search", "final"]
    state: Literal["complete", "pruned", "diverged"]
    params: dict[str, Any]
    folds: list[FoldResult] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """Mean log loss over the folds; infinite unless complete."""
        return sum(f.loss for f in self.folds) / len(self.folds) if self.folds else math.inf

    @property
    def accuracy(self) -> float:
        """Share of the folds' images predicted right; NaN unless complete."""
        n = sum(f.n for f in self.folds)
        return 1 - len(self.wrong) / n if n else math.nan

    @property
    def wrong(self) -> set[int]:
        """Rows of the training split that were predicted wrong."""
        return {row for f in self.folds for row in f.wrong}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Make a trial of what :meth:`to_dict` returned."""
        known = {f.name for f in dataclasses.fields(cls)}
        values = {key: value for key, value in record.items() if key in known}
        return cls(**{**values, "folds": [FoldResult(**f) for f in record["folds"]]})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, `loss` and `accuracy` (None unless complete) among them."""
        score = {"loss": self.loss, "accuracy": self.accuracy} if self.folds else {}
        return {**dataclasses.asdict(self), "loss": None, "accuracy": None, **score}


def to_lines(trials: Sequence[Trial]) -> str:
    """Return the text of ``trials.jsonl``."""
    return "".join(json.dumps(trial.to_dict(), allow_nan=False) + "\n" for trial in trials)


def read_trials(run: Path) -> list[Trial]:
    """Read the trials of a finished search from its run folder."""
    lines = (run / TRIALS).read_text(encoding="utf-8").splitlines()
    return [Trial.from_dict(json.loads(line)) for line in lines]


def evaluate_fold(task: Task, fold: int, scores: Any) -> FoldResult:
    """Compare a fold's held-out images' scores, (m, c), with their labels.

    Raises
    ------
    Diverged
        If a score is not finite.
    """
    rows = task.folds.pairs[fold][1]
    y = task.train.labels[rows]
    if not math.isfinite(float(abs(scores).max())):
        raise Diverged
    loss = log_loss(y, softmax(scores / fit_temperature(scores, y)))
    return FoldResult(fold, len(rows), loss, rows[scores.argmax(axis=1) != y].tolist())
