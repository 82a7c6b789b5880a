"""The search for a probe's settings: of its L2 strength, or of a head with a hidden layer.

A linear head's optimum is found by a solver, and its L2 strength by a walk; only a hidden layer leaves much
to search. So unless a head is named, the linear probe is the first trial, and all others have a hidden layer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from finetune.data.plan import Plan
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.heads import hidden
from finetune.heads.descent import Lost
from finetune.heads.linear import LOSSES, one_blas_thread
from finetune.heads.mlp import ACTIVATIONS
from finetune.heads.regularisation import TOLERANCE
from finetune.method import Task
from finetune.search.space import OneOf, Real, Space
from finetune.search.stages import Measured, Proposal
from finetune.search.stopping import why_stop
from finetune.search.trials import FoldResult, Trial
from finetune.strategies import probe

__all__ = ["LINEAR", "MLP", "Heads", "spaces"]

LINEAR: Space = {
    "l2": Real(1e-5, 1e2, 1e-8, 1e4),
    "loss": OneOf(tuple(LOSSES)),
}
MLP: Space = {
    "rate": Real(1e-3, 0.2, 1e-6, 10),
    "l2": Real(1e-5, 0.3, 1e-8, 1e2),
    "hidden": Real(24, 384, 2, 1024, whole=True),
    "activation": OneOf(ACTIVATIONS),
}

#: Epochs of the trials of each stage; final ones have those of the head that is kept.
EPOCHS = {"coarse": 4, "fine": 10}


def spaces(given: dict[str, Any]) -> tuple[Space, list[str]]:
    """Return the parameters that may be searched, and which are unless others are named."""
    space = LINEAR if given.get("head") == "linear" else MLP
    return space, list(space)


class Heads:
    """What the search needs to know of a probe; attributes as in :class:`finetune.search.stages.Subject`.

    Parameters
    ----------
    task : Task
    space : Space
    given : dict
        The probe's options that are not searched.
    """

    rounds = 1
    finalists = 5

    def __init__(self, task: Task, space: Space, given: dict[str, Any]) -> None:
        self.space = space
        self._task, self._given = task, given
        self._head = {} if "head" in given else {"head": "mlp"}
        self.starts = [Proposal("final", {})]

    def settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the probe's options for a trial's values; without values, those of the defaults."""
        return {**self._given, **(self._head if values else {}), **values}

    def measure(self, proposal: Proposal, earlier: Sequence[Trial]) -> Measured:
        """Train a head; on the first fold, or in the final stage on all."""
        options = probe.Options(**self.settings(proposal.values))
        pairs = self._task.folds.pairs
        pairs = pairs if proposal.stage == "final" else pairs[:1]
        if options.head == "linear":
            return self._linear(options, pairs)
        if options.l2 is None:
            options = replace(options, l2=hidden.STRENGTHS[1])
        if proposal.stage == "final":
            try:
                found = hidden.train_folds(
                    self._task, pairs, options, options.l2 or 0.0, probe.weigh(options)
                )
            except Lost:
                return Measured(stopped=_LOST)
            return Measured([self._judged(i, scores) for i, scores in enumerate(found)])
        epochs = min(EPOCHS[proposal.stage], options.epochs or hidden.EPOCHS)
        return self._short(replace(options, epochs=epochs), epochs, earlier)

    def _short(self, options: probe.Options, epochs: int, earlier: Sequence[Trial]) -> Measured:
        curve: list[float] = []
        stopped = ""

        def enough(epoch: int, scores: Any) -> bool:
            nonlocal stopped
            curve.append(self._judged(0, scores).loss)
            stopped = why_stop(curve, epochs, earlier)
            return bool(stopped)

        pair, weigh = self._task.folds.pairs[0], probe.weigh(options)
        try:
            with one_blas_thread():
                _, scores = hidden.train_fold(self._task, *pair, options, options.l2 or 0.0, weigh, enough)
        except Lost:
            return Measured(curve=curve, stopped=_LOST)
        return Measured([self._judged(0, scores)], curve, stopped)

    def _linear(self, options: probe.Options, pairs: list[tuple[Any, Any]]) -> Measured:
        plan = Plan([train for train, _ in pairs], [list(enumerate(rows for _, rows in pairs))])
        best = probe.walk(self._task, plan, options, TOLERANCE).best().held_out[0]
        sizes = np.cumsum([len(rows) for _, rows in pairs])[:-1]
        return Measured([self._judged(i, scores) for i, scores in enumerate(np.split(best, sizes))])

    def _judged(self, fold: int, scores: Any) -> FoldResult:
        return judged(fold, self._task.folds.pairs[fold][1], self._task, scores)


_LOST = "the loss was lost"


def judged(fold: int, rows: Any, task: Task, scores: Any) -> FoldResult:
    """Return how the scores of a fold's held-out rows fare."""
    y = task.train.labels[rows]
    loss = log_loss(y, softmax(scores / fit_temperature(scores, y)))
    return FoldResult(fold, len(rows), loss, rows[scores.argmax(axis=1) != y].tolist())
