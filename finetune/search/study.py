"""The loop of a search: propose, try, write down, until the budget is used up."""

import time
from collections.abc import Callable

from finetune.search.stages import Budget, Proposal, Subject, next_trial
from finetune.search.trials import Trial, TrialLog
from zoo.progress import progress

__all__ = ["search"]


def search(subject: Subject, budget: Budget, seed: int, log: TrialLog, say: Callable[[str], None]) -> None:
    """Make trials, going on from those that the log holds.

    Parameters
    ----------
    subject : Subject
    budget : Budget
    seed : int
    log : TrialLog
        Takes the trials.
    say : callable
        Told when a range is widened.
    """
    with progress("search", budget.trials or 0, "trials") as advance:
        advance(len(log.done))
        while (proposal := next_trial(subject, budget, seed, log.done)) is not None:
            for note in proposal.notes:
                say(note)
            log.add(_trial(subject, proposal, log.done))
            advance(1)


def _trial(subject: Subject, proposal: Proposal, done: list[Trial]) -> Trial:
    start = time.perf_counter()
    found = subject.measure(proposal, [t for t in done if t.stage == proposal.stage])
    seconds = time.perf_counter() - start
    n = sum(fold.n for fold in found.folds)
    return Trial(
        number=len(done),
        stage=proposal.stage,
        values=proposal.values,
        round=proposal.round,
        score=sum(fold.loss for fold in found.folds) / len(found.folds) if n else None,
        accuracy=1 - sum(len(fold.wrong) for fold in found.folds) / n if n else None,
        curve=found.curve,
        stopped=found.stopped,
        folds=found.folds,
        seconds=round(seconds, 4),
        elapsed=round((done[-1].elapsed if done else 0.0) + seconds, 4),
        notes=proposal.notes,
    )
