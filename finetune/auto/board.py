"""The leaderboard: what was tried, what was chosen, and what that comes to in words."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetune.evaluation.intervals import accuracy_interval
from finetune.options import as_words
from finetune.runs import Leaderboard, LeaderboardRow, NotTried

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.auto.candidates import Candidate
    from finetune.auto.course import Course
    from finetune.auto.outcome import Outcome
    from finetune.auto.standing import Standing
    from finetune.evaluation.metrics import Evaluation
    from finetune.evaluation.selection import CorrectedAccuracy
    from finetune.experiment import Request

__all__ = ["command_of", "leaderboard"]


def leaderboard(
    course: Course,
    winner: Outcome,
    probe: Outcome,
    probe_right: NDArray[np.bool_],
    test: Evaluation,
    minutes: float,
    command: str,
) -> Leaderboard:
    """Return the record of a race.

    Parameters
    ----------
    course : Course
        After the race.
    winner, probe : Outcome
        What was chosen, and the plain probe.
    probe_right : (m,) bool array
        Whether the plain probe predicted each held-out image correctly.
    test : Evaluation
        Of the winner on the held-out images.
    minutes : float
        The time that was given.
    command : str
        What trains the winner alone.
    """
    experiment, standing = course.experiment, course.standing
    corrected = standing.corrected(winner, course.outcomes, experiment.request.seed)
    held_out = experiment.split.test
    groups = None if experiment.dataset.groups is None else experiment.dataset.groups[held_out]
    plain = accuracy_interval(probe_right, groups)
    beats = winner is not probe and standing.gain(winner, probe).real
    rows = [_row(outcome, winner, course) for outcome in course.outcomes]
    return Leaderboard(
        minutes=minutes,
        spent=round(course.budget.spent, 1),
        stopped=course.stopped,
        rows=sorted(rows, key=lambda row: (row.status != "chosen", row.log_loss)),
        not_tried=[NotTried(name=skipped.name, reason=skipped.reason) for skipped in course.skipped],
        judged_on="cross-validation" if len(winner.rows) == len(standing.labels) else "inner validation",
        accuracy=corrected.accuracy,
        ci95=corrected.ci95,
        uncorrected=corrected.uncorrected,
        probe_accuracy=plain.accuracy,
        probe_ci95=plain.ci95,
        beats_probe=beats,
        verdict=_verdict(winner, probe, beats, standing, corrected, test, plain.accuracy),
        command=command,
    )


def command_of(candidate: Candidate, request: Request, registry: str | None) -> str:
    """Return the command that trains a candidate and nothing else."""
    words = ["finetune", "--strategy", candidate.strategy]
    network = candidate.network or request.models[0]
    words += replace(request, models=(network,), view=candidate.view, tta=candidate.tta).words()
    words += as_words(candidate.options)
    words += [] if registry is None else ["--registry", registry]
    return shlex.join(words)


def _row(outcome: Outcome, winner: Outcome, course: Course) -> LeaderboardRow:
    standing, candidate = course.standing, outcome.candidate
    found = outcome.accuracy(standing.labels, standing.groups)
    if outcome is winner:
        status = "chosen"
    elif outcome.status == "dropped":
        status = "dropped"
    else:
        status = "alike" if standing.alike(outcome, winner, course.outcomes) else "behind"
    options: dict[str, Any] = dict(candidate.options)
    return LeaderboardRow(
        name=candidate.name,
        strategy=candidate.strategy,
        model=candidate.network,
        options=options,
        status=status,
        reason=outcome.reason,
        accuracy=found.accuracy,
        ci95=found.ci95,
        log_loss=float(outcome.losses(standing.labels).mean()),
        n_images=len(outcome.rows),
        seconds=round(outcome.seconds, 2),
        milliseconds=round(outcome.milliseconds, 2),
    )


def _verdict(
    winner: Outcome,
    probe: Outcome,
    beats: bool,
    standing: Standing,
    corrected: CorrectedAccuracy,
    test: Evaluation,
    plain: float,
) -> str:
    """What was chosen and why, whether anything beats the plain probe, and both on the held-out images."""
    name = winner.candidate.name
    whole = len(winner.rows) == len(standing.labels)
    where = "cross-validated" if whole else f"on {len(winner.rows):,} training images that were held out"
    bias = 100 * (corrected.uncorrected - corrected.accuracy)
    flattered = f", {bias:.1f} points of it by having been chosen" if bias >= 0.05 else ""
    if not beats:
        first = (
            "Nothing that was tried beats the plain probe"
            + ("" if winner is probe else f" by more than one standard error; {name} costs least to predict")
            + f" ({corrected.uncorrected:.1%} {where}{flattered})."
        )
    else:
        theirs = probe.correct(standing.labels)[probe.at(winner.rows)].mean()
        first = (
            f"{name} is better than the plain probe: {corrected.uncorrected:.1%} against {theirs:.1%} {where}"
            f"{flattered}."
        )
    if winner is probe:
        return first
    return f"{first} Held-out: {test.accuracy:.1%}, the plain probe {plain:.1%}."
