"""A search as a strategy: it searches, then trains with what it found."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import OptionError
from finetune.method import Images, Task, Trained
from finetune.methods import check_methods, load_method
from finetune.search.space import Space
from finetune.search.stages import STAGES, Budget, Subject
from finetune.search.study import search
from finetune.search.trials import FILE, TrialLog
from finetune.search.winner import Standing, difference, standings
from finetune.strategies import STRATEGIES, make_options
from zoo.backbone import Backbone

__all__ = ["PAGE", "Searched", "Searching"]

#: The page's name in the run folder.
PAGE = "search.html"

#: How many trials there are where neither their number nor the time is given.
TRIALS = {"probe": 100, "last-layers": 24, "full": 24}


@dataclass(eq=False)
class Searched:
    """What a search found, trained; attributes as in :class:`finetune.method.Trained`."""

    trained: Trained
    choice: dict[str, Any]
    log: list[dict[str, Any]]
    warnings: list[str]
    files: dict[str, str]

    @property
    def trained_parameters(self) -> int:
        """How many numbers were learned."""
        return self.trained.trained_parameters

    def logits(self, images: Images) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c)."""
        return self.trained.logits(images)

    def save(self, folder: Path) -> None:
        """Write the model."""
        self.trained.save(folder)


class Searching:
    """A strategy with its settings searched.

    Parameters
    ----------
    strategy : str
        One of :data:`finetune.strategies.STRATEGIES`.
    options : dict
        The strategy's options that the user set; they are not searched.
    trials : int, optional
        How many there are at most.
    minutes : float, optional
        How long they may take.
    over : sequence of str, optional
        Names of the parameters to search.

    Raises
    ------
    OptionError
        If anything of this does not exist or makes no sense.
    """

    def __init__(
        self,
        strategy: str,
        options: dict[str, Any],
        trials: int | None = None,
        minutes: float | None = None,
        over: Sequence[str] | None = None,
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise OptionError("A search is made by one process.", "Start it without accelerate or torchrun.")
        check_methods([strategy], STRATEGIES)
        if trials is None and minutes is None:
            trials = TRIALS[strategy]
        self.budget = Budget(trials, minutes)
        self._strategy, self._given = strategy, options
        self._module = load_method(strategy)
        make_options(self._module, options)
        self.space = self._space(over)

    def fit(self, task: Task, backbone: Backbone) -> Searched:
        """Search, and train on all training images with what was found.

        Parameters
        ----------
        task : Task
            Training images; a folder of checkpoints may hold trials to go on from.
        backbone : Backbone

        Returns
        -------
        Searched

        Raises
        ------
        TrainingError
            If the loss was lost in every trial.
        """
        subject = self._subject(task, backbone)
        log = TrialLog(task.checkpoints)
        search(subject, self.budget, task.seed, log, task.say)
        ranked = standings(log.done, len(subject.starts))
        settings = subject.settings(ranked[0].values)
        starts = len(subject.starts)
        del subject  # its network and activations would be in memory twice
        trained: Trained = self._module.fit(task, backbone, make_options(self._module, settings))
        record = self._record(log, ranked, starts)
        from finetune.search.page import page

        files = {FILE: log.text(), PAGE: page(log.done, self.space, record, len(task.train))}
        warnings = [*trained.warnings, *_at_the_border(ranked[0], self.space, log)]
        choice = {**trained.choice, "search": record}
        return Searched(trained, choice, trained.log, warnings, files)

    def _space(self, over: Sequence[str] | None) -> Space:
        if self._strategy == "probe":
            from finetune.search.heads import spaces

            known, usual = spaces(self._given)
        else:
            from finetune.search.networks import spaces as of_networks

            known, usual = of_networks(self._strategy)
        names = list(over) if over else [name for name in usual if name not in self._given]
        for name in names:
            if name.replace("-", "_") not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise OptionError(
                    f"{self._strategy} has no parameter {name!r} that could be searched.",
                    (f"Did you mean {near[0]}? " if near else "") + f"Choose among: {', '.join(known)}.",
                )
            if name.replace("-", "_") in self._given:
                raise OptionError(
                    f"The {name} is given, so that it cannot be searched.", f"Leave out --{name}."
                )
        if not names:
            raise OptionError("Everything is given: nothing is left to be searched.", "Leave some out.")
        return {name.replace("-", "_"): known[name.replace("-", "_")] for name in dict.fromkeys(names)}

    def _subject(self, task: Task, backbone: Backbone) -> Subject:
        if self._strategy == "probe":
            from finetune.search.heads import Heads

            return Heads(task, self.space, self._given)
        from finetune.search.networks import Networks

        return Networks(self._module, task, backbone, self.space, self._given)

    def _record(self, log: TrialLog, ranked: list[Standing], starts: int) -> dict[str, Any]:
        """What ``run.json`` says of the search."""
        best = ranked[0]
        defaults = next(standing for standing in ranked if standing.defaults)
        others = [standing for standing in ranked if not standing.defaults] or [defaults]
        return {
            "trials": len(log.done),
            "stages": {stage: sum(t.stage == stage for t in log.done) for stage in STAGES},
            "stopped": sum(bool(t.stopped) for t in log.done),
            "seconds": log.done[-1].elapsed,
            "over": list(self.space),
            "values": best.values,
            "loss": best.loss,
            "accuracy": best.accuracy,
            "defaults": {"values": defaults.values, "loss": defaults.loss, "accuracy": defaults.accuracy},
            "gain": difference(others[0], defaults),
            "judged_on": sorted({fold.fold for fold in best.folds}),
            "best_are_defaults": best.defaults,
            "starts": starts,
            "widened": [note for t in log.done for note in t.notes],
        }


def _at_the_border(best: Standing, space: Space, log: TrialLog) -> list[str]:
    """What was best at the end of all that was tried, in spite of widening."""
    from finetune.search.space import Real

    said = []
    for name, parameter in space.items():
        if not isinstance(parameter, Real) or name not in best.values or best.defaults:
            continue
        tried = [t.values[name] for t in log.done if name in t.values]
        if best.values[name] in (min(tried), max(tried)) and min(tried) < max(tried):
            which = "smallest" if best.values[name] == min(tried) else "largest"
            said.append(f"The best {name.replace('_', ' ')} ({best.values[name]:g}) is the {which} tried.")
    return said
