"""The search for the settings of ``last-layers`` and ``full``."""

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from finetune.method import Task
from finetune.search.heads import judged
from finetune.search.space import OneOf, Real, Space
from finetune.search.stages import Measured, Proposal
from finetune.search.stopping import why_stop
from finetune.search.trials import Trial
from zoo.backbone import Backbone

__all__ = ["Networks", "spaces"]

_BOTH: Space = {
    "rate": Real(3e-5, 3e-2, 1e-7, 1),
    "weight_decay": Real(1e-4, 1, 1e-8, 100),
    "batch": OneOf((16, 32, 64)),
    "smoothing": OneOf((0.0, 0.05, 0.1)),
    "layer_decay": OneOf((0.7, 0.8, 0.9, 1.0)),
}
_OWN: dict[str, Space] = {
    # Each number of layers asks for activations of its own, and they take as long as some trials.
    "last-layers": {"layers": OneOf((1, 2))},
    "full": {},
}
_USUAL = ("rate", "weight_decay", "batch")


def spaces(strategy: str) -> tuple[Space, list[str]]:
    """Return the parameters that may be searched, and which are unless others are named."""
    return {**_BOTH, **_OWN[strategy]}, list(_USUAL)


class Networks:
    """What the search needs to know of a network's training.

    Attributes are those of :class:`finetune.search.stages.Subject`.

    Parameters
    ----------
    strategy : module
        ``last_layers`` or ``full``.
    task : Task
    backbone : Backbone
    space : Space
    given : dict
        The strategy's options that are not searched.
    """

    finalists = 2

    def __init__(
        self, strategy: ModuleType, task: Task, backbone: Backbone, space: Space, given: dict[str, Any]
    ) -> None:
        self.space = space
        self.rounds = task.folds.n_folds
        self._strategy, self._task, self._backbone, self._given = strategy, task, backbone, given
        self._defaults = strategy.defaults(len(task.train))
        rates = self._defaults.rates if "rate" in space else ()
        self.starts = [Proposal("coarse", {"rate": rate}) for rate in rates] or [Proposal("coarse", {})]
        self._ready: tuple[Any, Any, Any] | None = None

    def settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the strategy's options for a trial's values."""
        return {**self._given, **values}

    def measure(self, proposal: Proposal, earlier: Sequence[Trial]) -> Measured:
        """Train the network outside one fold: the first, or in the final stage that of the round."""
        from finetune.training.checkpoint import Leg
        from finetune.training.learner import Diverged
        from finetune.training.loop import train
        from finetune.training.network import depthwise_in_fp32

        options = self._strategy.Options(**self.settings(proposal.values))
        recipe = options.plan(self._defaults).recipe
        epochs = min(recipe.epochs, self._epochs(proposal.stage))
        bench = self._bench(options)
        inner, held_out = self._task.folds.pairs[proposal.round]
        bench.begin(inner)
        stopped, final = "", proposal.stage == "final"

        def hopeless(log: list[dict[str, Any]]) -> bool:
            nonlocal stopped
            curve = [line["validation_loss"] for line in log]
            stopped = "" if final or not curve else why_stop(curve, epochs, earlier)
            return bool(stopped)

        recipe = dataclasses.replace(recipe, epochs=epochs)
        name = f"{proposal.stage} trial"
        try:
            with depthwise_in_fp32(bench.job.network):
                found = train(
                    bench.job, inner, recipe, Leg(None, 0), name, validation=held_out, hopeless=hopeless
                )
        except Diverged as error:
            return Measured(stopped=error.problem)
        scores = found.scores[found.best - 1]
        curve = [line["validation_loss"] for line in found.log]
        return Measured([judged(proposal.round, held_out, self._task, scores)], curve, stopped)

    def _epochs(self, stage: str) -> int:
        trial = max(2, self._defaults.epochs // 3)
        return {"coarse": max(1, trial // 2), "fine": trial, "final": 10**6}[stage]

    def _bench(self, options: Any) -> Any:
        """The network ready for these options; the last is kept, for most trials differ in recipe only."""
        from finetune.training.procedure import Bench
        from finetune.training.team import Team

        names = ("layers", "unfreeze", "bn", "augment", "flip", "views", "size", "first_size", "start")
        key = tuple(getattr(options, name, None) for name in names)
        if self._ready is None or self._ready[0] != key:
            self._ready = None  # its memory is needed
            team = Team()
            ready = self._strategy.prepare(self._task, self._backbone, options, team)
            bench = Bench(
                self._task,
                self._backbone,
                ready.network,
                ready.tail,
                ready.source,
                ready.X,
                options.start,
                team,
            )
            self._ready = (key, ready, bench)
        return self._ready[2]
