"""A search as a method: it searches, then fits with the best options."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.errors import OptionError
from finetune.method import Features, Fitted, Method, Task
from finetune.methods import find_method, make_method
from finetune.options import Options, flag, make_options, option
from finetune.space import Space

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["SEARCHABLE", "Search", "SearchOptions"]

#: Methods with options to search, and how many trials there are where no budget is given.
SEARCHABLE = {"probe": 100, "last-layers": 24, "full": 24}

#: The page's name in a run folder.
PAGE = "search.html"

_GROUP = "Search"


class SearchOptions(Options):
    """What may be set of a search."""

    trials: int | None = option(
        None,
        "Trials at most; by default 100 for probe, 24 for last-layers and full, or no limit with --minutes.",
        group=_GROUP,
        ge=1,
    )
    minutes: float | None = option(None, "Minutes at most.", group=_GROUP, gt=0)
    over: tuple[str, ...] | None = option(
        None, "Options to search, such as lr weight-decay; by default those that matter most.", group=_GROUP
    )


class Search(Method[SearchOptions]):
    """A method whose options are searched.

    Parameters
    ----------
    method : str
        One of :data:`SEARCHABLE`.
    options : mapping
        The method's options that the user set; they stay fixed.
    trials : int, optional
        How many there are at most.
    minutes : float, optional
        How long they may take.
    over : sequence of str, optional
        Options to search.

    Raises
    ------
    OptionError
        If the method, an option or a value does not exist, or nothing is left to search.
    """

    Options = SearchOptions
    summary = "options by search"
    resumable = True

    def __init__(
        self,
        method: str,
        options: Mapping[str, Any],
        trials: int | None = None,
        minutes: float | None = None,
        over: Sequence[str] | None = None,
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise OptionError("A search runs in one process.", "Start it without accelerate or torchrun.")
        if find_method(method).name not in SEARCHABLE:
            raise OptionError(f"{method} has no options to search.", f"Search {', '.join(SEARCHABLE)}.")
        budget = {"trials": trials, "minutes": minutes, "over": over}
        super().__init__(make_options("search", SearchOptions, budget))
        self.name = f"{method}-search"  # type: ignore[misc]
        self.trains_network = find_method(method).trains_network  # type: ignore[misc]
        self.method = method
        self.given = {name: value for name, value in options.items() if value is not None}
        make_method(method, **self.given)
        self.space = self._space()

    @property
    def features(self) -> Features:
        """What the method reads with the options that are given."""
        return make_method(self.method, **self.given).features

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Search, then fit the method to all training images with the best options.

        Parameters
        ----------
        task : Task
            Training images. Trials are kept in its folder of checkpoints, and continued from there.
        backbone : Backbone or None

        Returns
        -------
        Fitted
            The method's, with a record of the search as ``choice["search"]``, a warning for each best value
            at an end of its range, and the files ``trials.jsonl`` and ``search.html``.

        Raises
        ------
        TrainingError
            If the training diverged in every trial.
        """
        from finetune.search.page import page
        from finetune.search.study import Budget, run_trials
        from finetune.search.summary import border_warnings, candidates, summary
        from finetune.search.trials import TRIALS, to_lines

        trials, minutes = self.options.trials, self.options.minutes
        if trials is None and minutes is None:
            trials = SEARCHABLE[self.method]
        trainer = self._trainer(task, backbone)
        made = run_trials(trainer, self.space, Budget(trials, minutes), task.seed, task.checkpoints)
        record = summary(made, self.space, task)
        best = trainer.options(candidates(made)[0][0].params)
        del trainer  # its network and activations would be in memory twice
        fitted = make_method(self.method, **best).fit(task, backbone)
        fitted.choice["search"] = record
        fitted.warnings += border_warnings(made, self.space)
        fitted.files |= {TRIALS: to_lines(made), PAGE: page(made, self.space, record, len(task.train))}
        return fitted

    def _trainer(self, task: Task, backbone: Backbone | None) -> Any:
        if self.method == "probe":
            from finetune.search.heads import HeadTrainer

            return HeadTrainer(task, self.given)
        from finetune.search.networks import NetworkTrainer

        assert backbone is not None  # `inputs` is features
        return NetworkTrainer(self.method, task, backbone, self.space, self.given)

    def _space(self) -> Space:
        """Return what is searched; OptionError if it does not exist or is given."""
        known = find_method(self.method).Options.search_space(self.given)
        if not self.options.over:
            usual = {n: p for n, p in known.items() if not p.optional and n not in self.given}
            if not usual:
                raise OptionError(
                    "Every option is given, so that nothing is left to search.", "Leave out some."
                )
            return usual
        names = [name.replace("-", "_") for name in self.options.over]
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise OptionError(
                    f"{self.method} has no option {name!r} that can be searched.",
                    (f"Did you mean {near[0]}? " if near else "") + f"Choose among: {', '.join(known)}.",
                )
            if name in self.given:
                raise OptionError(f"{flag(name)} is given and searched at once.", f"Leave out {flag(name)}.")
        return {name: known[name] for name in names}
