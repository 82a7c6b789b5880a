"""Before anything is learned the loss is known: log c of the softmax, c - 1 of the hinge.

(Stanford's CS231n notes, "Babysitting the learning process": look for correct loss at chance performance.)
Another value means that the inputs, the loss or the first weights are not what they should be.
"""

from __future__ import annotations

import math

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult

__all__ = ["FirstLoss"]

#: Relative tolerance: the weights of a new classifier are near zero, but not zero; behind a hidden layer, the
#: first loss of 16 images of ants-bees is 7% off.
TOLERANCE = 0.2

BATCH = 16


class FirstLoss(Check):
    """The loss of a new classifier."""

    name = "first-loss"

    def applies(self, context: CheckContext) -> bool:
        """Only where gradient descent trains; a solver starts from zero weights."""
        return context.trainable is not None and bool(context.trainable.lrs)

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Compare the first loss with that of uniform probabilities."""
        part = context.trainable
        assert part is not None
        first = next(part.steps(part.rows(BATCH), [0.0]), None)
        loss, expected = math.nan if first is None else first.loss, part.loss_at_start
        right = abs(loss - expected) <= TOLERANCE * expected  # false for nan
        return [
            self.result(
                "first loss",
                "pass" if right else "fail",
                loss,
                f"{expected:.4g} ± {TOLERANCE:.0%}",
                "With a new classifier, the loss is that of uniform probabilities."
                if right
                else "With a new classifier, the loss is not that of uniform probabilities.",
                "Check the images' normalisation (preprocessing) and the network's outputs (activations).",
            )
        ]
