"""The search for a probe's options: the L2 of a linear head, or a head with a hidden layer.

A linear head is solved for, and its L2 is chosen along a path; only a hidden layer leaves much to search. So
unless a head is given, the default is the linear head, and everything drawn has a hidden layer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from finetune.data.plan import Plan
from finetune.heads.descent import Diverged, fit_mlp, fit_mlp_folds
from finetune.heads.linear import one_blas_thread
from finetune.heads.regularisation import TOLERANCE
from finetune.method import Task
from finetune.options import make_options
from finetune.search.study import Watch
from finetune.search.trials import FoldResult, evaluate_fold
from finetune.strategies.probe import MLP_L2, Probe, ProbeOptions

__all__ = ["HeadTrainer"]


class HeadTrainer:
    """Trains a probe's head; attributes as in :class:`finetune.search.study.Trainer`.

    Parameters
    ----------
    task : Task
    given : dict
        The options that are not searched.
    """

    n_finalists = 5

    def __init__(self, task: Task, given: dict[str, Any]) -> None:
        self.defaults: list[dict[str, Any]] = [{}]
        self._task, self._given = task, given

    def options(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the probe's options for a trial."""
        head = {"head": "mlp"} if params and "head" not in self._given else {}
        return {**self._given, **head, **params}

    def trial(self, params: dict[str, Any], watch: Watch | None) -> FoldResult:
        """Train outside the first fold."""
        probe = self._probe(params)
        if probe.options.head == "linear" or probe.options.l2 is None:
            return self._folds(probe, 1)[0]
        task, how = self._task, probe.descent(self._task.seed, probe.options.l2)

        def stop(epoch: int, scores: Any) -> bool:
            return watch is not None and watch(epoch, how.epochs, evaluate_fold(task, 0, scores).loss)

        X, y, c = task.train.features(probe.features), task.train.labels, len(task.classes)
        with one_blas_thread():
            _, scores = fit_mlp(X, y, c, *task.folds.pairs[0], how, stop)
        return evaluate_fold(task, 0, scores)

    def cross_validate(self, params: dict[str, Any], n_folds: int, first: FoldResult) -> list[FoldResult]:
        """Train outside each fold; one L2 is chosen for all of them, so that the first is trained again."""
        return self._folds(self._probe(params), n_folds)

    def n_final_folds(self, seconds_left: float, slowest: float) -> int:
        """Return the number of all folds: they are trained side by side in a second or two."""
        return len(self._task.folds.pairs)

    def _probe(self, params: dict[str, Any]) -> Probe:
        return Probe(make_options("probe", ProbeOptions, self.options(params)))

    def _folds(self, probe: Probe, n_folds: int) -> list[FoldResult]:
        task = self._task
        pairs = task.folds.pairs[:n_folds]
        if probe.options.head == "linear":
            plan = Plan([train for train, _ in pairs], [list(enumerate(rows for _, rows in pairs))])
            together = probe.paths(task, plan, TOLERANCE).path().best().held_out[0]
            ends = np.cumsum([len(rows) for _, rows in pairs])[:-1]
            return [evaluate_fold(task, i, scores) for i, scores in enumerate(np.split(together, ends))]
        # As the probe does where no L2 is given: the best of a few.
        tried = MLP_L2 if probe.options.l2 is None else (probe.options.l2,)
        results = []
        for l2 in tried:
            try:
                results.append(self._mlp_folds(probe, l2, pairs))
            except Diverged:
                continue
        if not results:
            raise Diverged
        return min(results, key=lambda folds: math.fsum(f.loss for f in folds))

    def _mlp_folds(self, probe: Probe, l2: float, pairs: list[tuple[Any, Any]]) -> list[FoldResult]:
        train, c = self._task.train, len(self._task.classes)
        X, how = train.features(probe.features), probe.descent(self._task.seed, l2)
        found = fit_mlp_folds(X, train.labels, c, pairs, how)
        return [evaluate_fold(self._task, i, scores) for i, scores in enumerate(found)]
