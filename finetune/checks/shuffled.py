"""Does a probe fall to chance when its labels are shuffled? If not, held-out images leak into training.

Shuffled labels leave nothing to be learned, so that an accuracy above the majority class's share comes from
images that stand on both sides of a fold. (A permutation test: Ojala and Garriga 2010, JMLR 11.)
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, Status
from finetune.data.split import Folds
from finetune.method import Task
from finetune.strategies.probe import Probe

__all__ = ["Shuffled"]

#: Most training images that are used; more would only take longer.
IMAGES = 1000

#: Standard errors above the majority class's share.
SUSPICIOUS, SURE = 3.0, 4.0


class Shuffled(Check):
    """The cross-validated accuracy of a probe on shuffled labels."""

    name = "shuffled"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Cross-validate on the folds of the training."""
        task = _shuffled(context.task)
        accuracy = float(Probe(Probe.Options(features="last")).fit(task, None).choice["cv_accuracy"])
        n = len(task.train)
        chance = np.bincount(task.train.labels).max() / n
        error = math.sqrt(chance * (1 - chance) / n)
        excess = (accuracy - chance) / error
        status: Status = "fail" if excess > SURE else "warn" if excess > SUSPICIOUS else "pass"
        return [
            self.result(
                "chance",
                status,
                accuracy,
                f"at most {chance + SUSPICIOUS * error:.1%}: the majority class's share and {SUSPICIOUS:g} "
                f"standard errors; {SURE:g} fail",
                f"With shuffled labels, {accuracy:.1%} of the images outside a fold's training are predicted "
                + ("correctly: nothing leaks." if status == "pass" else "correctly: there is a leak."),
                "Look for images that are in a training fold and in its held-out fold at once.",
            )
        ]


def _shuffled(task: Task) -> Task:
    """Return the task of some training images with shuffled labels, on the same folds."""
    rng = np.random.default_rng([task.seed, 9])
    n = len(task.train)
    kept = np.sort(rng.permutation(n)[:IMAGES])
    place = np.full(n, -1)
    place[kept] = np.arange(len(kept))
    pairs = [tuple(place[rows][place[rows] >= 0] for rows in pair) for pair in task.folds.pairs]
    used = [(a, b) for a, b in pairs if len(a) and len(b)]
    train = task.train.subset(kept)
    train = dataclasses.replace(train, labels=rng.permutation(train.labels))
    return dataclasses.replace(task, train=train, folds=Folds(used, len(used)))
