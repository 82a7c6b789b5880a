"""The search for the options of ``last-layers`` and ``full``."""

from __future__ import annotations

from typing import Any

from finetune.heads.descent import Diverged
from finetune.method import Task
from finetune.methods import make_method
from finetune.search.study import Watch
from finetune.search.trials import FoldResult, evaluate_fold
from finetune.space import Space
from zoo.backbone import Backbone

__all__ = ["NetworkTrainer"]

#: Options that a prepared network does not depend on; where others differ, another one is prepared.
RECIPE = frozenset({"lr", "weight_decay", "batch_size", "label_smoothing", "layer_decay"})

#: On so many folds the best are compared, where there is time: a training takes minutes.
MOST_FOLDS = 3


class NetworkTrainer:
    """Trains a network; attributes as in :class:`finetune.search.study.Trainer`.

    Parameters
    ----------
    method : str
        ``last-layers`` or ``full``.
    task : Task
    backbone : Backbone
    space : Space
        What is searched.
    given : dict
        The options that are not.
    """

    n_finalists = 3

    def __init__(
        self, method: str, task: Task, backbone: Backbone, space: Space, given: dict[str, Any]
    ) -> None:
        self._name, self._task, self._backbone, self._given = method, task, backbone, given
        self._ready: tuple[dict[str, Any], Any] | None = None
        training: Any = make_method(method, **given).options
        rates = training.learning_rates(len(task.train))
        self.defaults: list[dict[str, Any]] = [{"lr": lr} for lr in rates] if "lr" in space else [{}]

    def options(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the method's options for a trial."""
        return {**self._given, **params}

    def trial(self, params: dict[str, Any], watch: Watch | None) -> FoldResult:
        """Train outside the first fold, for as many epochs as the method does."""
        return self._train(params, 0, watch)

    def cross_validate(self, params: dict[str, Any], n_folds: int, first: FoldResult) -> list[FoldResult]:
        """Train outside each of the other folds; the first is known."""
        return [first, *(self._train(params, fold, None) for fold in range(1, n_folds))]

    def n_final_folds(self, seconds_left: float, slowest: float) -> int:
        """Return how many there is time for, the first among them, which costs nothing."""
        most = min(MOST_FOLDS, len(self._task.folds.pairs))
        return int(min(most, 1 + max(0.0, seconds_left) / (self.n_finalists * slowest)))

    def _train(self, params: dict[str, Any], fold: int, watch: Watch | None) -> FoldResult:
        from finetune.training.checkpoint import Checkpoint
        from finetune.training.learner import Diverged as NetworkDiverged
        from finetune.training.loop import train

        method: Any = make_method(self._name, **self.options(params))
        options = method.options.resolved(len(self._task.train))
        bench = self._bench(method)
        inner, held_out = self._task.folds.pairs[fold]

        def stop(log: list[dict[str, Any]]) -> bool:
            return watch is not None and watch(len(log), options.epochs, log[-1]["validation_loss"])

        bench.begin(inner)
        try:
            outcome = train(bench.job, inner, options, Checkpoint(), "trial", validation=held_out, stop=stop)
        except NetworkDiverged as error:
            raise Diverged from error
        if outcome.epoch == options.epochs:
            stop(outcome.log)  # the loop does not call it after the last epoch
        return evaluate_fold(self._task, fold, outcome.scores[-1])

    def _bench(self, method: Any) -> Any:
        """Prepare the network; the last one is reused, since most trials differ in hyperparameters only."""
        key = method.options.model_dump(exclude=RECIPE)
        if self._ready is None or self._ready[0] != key:
            self._ready = None  # its memory is needed
            self._ready = key, method.bench(self._task, self._backbone)
        return self._ready[1]
