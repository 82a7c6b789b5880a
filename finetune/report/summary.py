"""The first screen: what to know before trusting a run's number, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.report.classes import confusions
from finetune.runs import Run

__all__ = ["Step", "checked", "next_steps", "trust_points"]

#: An interval wider than this share says little about a classifier.
WIDE = 0.10

#: Training images of a class below which it is said to have few.
FEW = 10

#: P-value of a contradiction from which on cross-validation and held-out images are said to agree.
AGREES = 0.05

#: Share of all mistakes from which on one pair of classes is worth naming.
NOTABLE = 0.3


@dataclass(frozen=True)
class Step:
    """Something to do, perhaps by a command."""

    text: str
    command: str = ""
    anchor: str = ""


def trust_points(run: Run) -> list[str]:
    """Return what to know before trusting the accuracy, the most important first.

    Parameters
    ----------
    run : Run
        Its warnings come first: copies, shift, contradiction, the border of a search.

    Returns
    -------
    list of str
        A sentence or two each; empty where nothing is known against the number.
    """
    points = [*run.warnings, *_few_images(run)]
    raw = run.reference.raw_pixels_accuracy
    if raw is not None and run.test.ci95[0] <= raw:
        points.append(
            f"The interval reaches down to {raw:.1%}, the accuracy on raw pixels: {run.test.n} images do not "
            "show that the pretrained network helps."
        )
    if run.data.skipped:
        n = len(run.data.skipped)
        points.append(f"{n:,} {'file' if n == 1 else 'files'} could not be read and took no part.")
    return points


def _few_images(run: Run) -> list[str]:
    points = []
    lo, hi = run.test.ci95
    if hi - lo > WIDE:
        points.append(
            f"{run.test.n:,} held-out images leave the accuracy open by {100 * (hi - lo):.0f} points; four "
            "times as many would halve that."
        )
    training = {name: run.data.counts[name] - s.support for name, s in run.test.per_class.items()}
    few = sorted((n, name) for name, n in training.items() if n < FEW)
    if few:
        have = "class has" if len(few) == 1 else "classes have"
        names = _listed([name for _, name in few])
        points.append(f"{len(few):,} {have} fewer than {FEW} training images: {names}.")
    unseen = [name for name, scores in run.test.per_class.items() if not scores.support]
    if unseen:
        have = "class has" if len(unseen) == 1 else "classes have"
        points.append(f"{len(unseen):,} {have} no held-out image, so nothing is known: {_listed(unseen)}.")
    return points


def checked(run: Run) -> list[str]:
    """Return what was looked for and not found, so that nobody has to wonder."""
    found = []
    if run.data.copies is not None and not run.data.copies.held_out_with_copy:
        found.append("No held-out image has a copy in training.")
    if run.shift is not None and not run.shift.differs:
        found.append(
            f"Training and held-out images are of one kind, as far as a classifier can tell (AUC "
            f"{run.shift.auc:.2f}, p = {run.shift.p_value:.2g})."
        )
    if run.contradiction is not None and run.contradiction.p_value >= AGREES:
        cv = run.test.accuracy + run.contradiction.difference
        found.append(
            f"Cross-validated accuracy ({cv:.1%}) and held-out accuracy differ by no more than chance "
            f"(p = {run.contradiction.p_value:.2g})."
        )
    return found


def next_steps(run: Run) -> list[Step]:
    """Return what to do next, the most useful first."""
    steps = []
    wrong = sum(map(sum, run.test.confusion)) - sum(row[i] for i, row in enumerate(run.test.confusion))
    if wrong:
        steps.append(
            Step(f"Look at the mistakes ({wrong:,}): wrong labels are found there first.", anchor="mistakes")
        )
        worst = confusions(run, 1)[0]
        if worst.times >= 3 and worst.times >= NOTABLE * wrong:
            steps.append(
                Step(
                    f"{worst.times:,} of {wrong:,} mistakes are {worst.truth} predicted as "
                    f"{worst.prediction}: more images of these two help most."
                )
            )
    if run.hint is not None:
        steps.append(Step(run.hint))
    lo, hi = run.test.ci95
    if hi - lo > WIDE:
        steps.append(Step("Hold out more images, for a narrower interval."))
    compare = shlex.join(["finetune", "compare", "--data", run.data.path, "--model", run.model])
    predict = f"finetune predict {shlex.quote(str(run.path))} IMAGE_OR_FOLDER"
    return [
        *steps,
        Step("See whether another method does better:", compare),
        Step("Classify new images:", predict),
    ]


def _listed(names: Sequence[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
