"""From coarse to fine: what the next trial is.

A pure function of what was done: a search that goes on asks the same questions and gets the same answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from finetune.errors import OptionError
from finetune.search.sampler import STARTUP, draw, ranges
from finetune.search.space import Space
from finetune.search.trials import FoldResult, Trial, defaults_of

__all__ = ["STAGES", "Budget", "Measured", "Proposal", "Subject", "next_trial"]

STAGES = ("coarse", "fine", "final")

#: Shares of the trials that the first and the last stage have, the last one at most.
COARSE, FINAL = 0.6, 0.1

#: Where stages end, as shares of the time: final trials are the longest.
BY_TIME = (0.3, 0.55)

#: So many of the coarse stage's best are tried for longer.
PROMOTED = 3

#: So many trials of the fine stage say more than the coarse stage's.
ENOUGH = 8


@dataclass(frozen=True)
class Budget:
    """How long to search: until the trials or the minutes are used up, whichever is first.

    Attributes
    ----------
    trials : int or None
    minutes : float or None
        A trial that has begun is brought to its end.
    """

    trials: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise OptionError(f"{self.trials} trials are none.", "Give --trials a number from 1 upwards.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise OptionError(f"{self.minutes:g} minutes are no time.", "Give --minutes a number above 0.")

    def stage(self, done: int, elapsed: float, finals: int) -> str | None:
        """Return the stage after so many trials and seconds; None at the end.

        Parameters
        ----------
        done : int
        elapsed : float
        finals : int
            The most trials that the final stage has use for.
        """
        passed = 0
        if self.trials is not None:
            # However few trials there are, the last one is left for the final stage.
            last = self.trials - min(finals, max(1, round(FINAL * self.trials)))
            ends = [min(COARSE * self.trials, last), last]
            passed = sum(done >= end for end in (*ends, self.trials))
        if self.minutes is not None:
            share = elapsed / (60 * self.minutes)
            passed = max(passed, sum(share >= end for end in (*BY_TIME, 1.0)))
        return STAGES[passed] if passed < len(STAGES) else None


@dataclass(frozen=True)
class Proposal:
    """What the next trial shall be; attributes as in :class:`finetune.search.trials.Trial`."""

    stage: str
    values: dict[str, Any]
    round: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """What a trial came to; attributes as in :class:`finetune.search.trials.Trial`."""

    folds: list[FoldResult] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    stopped: str = ""


class Subject(Protocol):
    """What is searched.

    Attributes
    ----------
    space : Space
        Its parameters.
    starts : list of Proposal
        What is tried first: the defaults, then other usual values.
    rounds : int
        How many rounds the final stage has, each on other folds.
    finalists : int
        How many are compared in it, the defaults among them.
    """

    space: Space
    starts: list[Proposal]
    rounds: int
    finalists: int

    def settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the strategy's options for a trial's values."""

    def measure(self, proposal: Proposal, earlier: Sequence[Trial]) -> Measured:
        """Train with some values; `earlier` are the trials of the same stage."""


def next_trial(subject: Subject, budget: Budget, seed: int, done: Sequence[Trial]) -> Proposal | None:
    """Return what to try next.

    Parameters
    ----------
    subject : Subject
    budget : Budget
    seed : int
    done : sequence of Trial
        All trials so far.

    Returns
    -------
    Proposal or None
        None when the search is over.
    """
    raced = sum(start.stage == "final" for start in subject.starts)
    finals = subject.finalists * subject.rounds - raced
    stage = budget.stage(len(done), done[-1].elapsed if done else 0.0, finals)
    if stage is None:
        return None
    if len(done) < len(subject.starts):
        return subject.starts[len(done)]
    if stage == "final" or any(t.stage == "final" for t in done[len(subject.starts) :]):
        return _final(subject, budget, seed, done)
    if stage == "fine" and (promoted := _promoted(done)) is not None:
        return Proposal("fine", promoted)
    return _drawn(subject, stage, seed, done)


def _promoted(done: Sequence[Trial]) -> dict[str, Any] | None:
    """The next of the coarse stage's best, which are tried again for longer before anything new is."""
    ranked = sorted((t for t in done if t.stage == "coarse" and not t.stopped), key=lambda t: t.loss)
    tried = {t.key for t in done if t.stage == "fine"}
    return next((t.values for t in ranked[:PROMOTED] if t.key not in tried), None)


def _drawn(subject: Subject, stage: str, seed: int, done: Sequence[Trial]) -> Proposal:
    """New values, drawn by what trials of the stage came to, or of the coarse one while these are few."""
    own = [t for t in done if t.stage == stage]
    earlier = own if len(own) >= ENOUGH else [t for t in done if t.stage == "coarse"]
    within, notes = ranges(subject.space, earlier, done)
    startup = STARTUP if stage == "coarse" else 0
    values = draw(subject.space, within, earlier, seed, len(done), startup)
    said = {note for t in done for note in t.notes}
    return Proposal(stage, values, notes=[note for note in notes if note not in said])


def _final(subject: Subject, budget: Budget, seed: int, done: Sequence[Trial]) -> Proposal | None:
    """The next of the finalists, round by round."""
    starts = len(subject.starts)
    entry = next((i for i, t in enumerate(done) if i >= starts and t.stage == "final"), len(done))
    before = done[:entry]
    number = subject.finalists
    if budget.trials is not None:
        number = min(number, max(2, 1 + (budget.trials - entry) // subject.rounds))
    finalists = _finalists(before, starts, number)
    if len(finalists) < 2:  # nothing else was tried yet
        finalists.append(_drawn(subject, "coarse", seed, before).values)
    raced = {(t.key, t.round) for t in done if t.stage == "final"}
    for round_ in range(subject.rounds):
        for values in finalists:
            proposal = Proposal("final", values, round_)
            if (Trial(0, "final", values).key, round_) not in raced:
                return proposal
    return None


def _finalists(before: Sequence[Trial], starts: int, number: int) -> list[dict[str, Any]]:
    """The defaults, then the best others: of the longest trials first, then of shorter ones."""
    defaults = defaults_of(before, starts)
    found = {defaults.key: defaults.values}
    for stage in ("fine", "coarse"):
        whole_ones = [t for t in before if t.stage == stage and not t.stopped and not math.isinf(t.loss)]
        for trial in sorted(whole_ones, key=lambda t: t.loss):
            if len(found) < number:
                found.setdefault(trial.key, trial.values)
    return list(found.values())
