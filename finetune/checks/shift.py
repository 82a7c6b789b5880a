"""Are the held-out images of the same kind as the training images? (:mod:`finetune.evaluation.shift`)"""

from __future__ import annotations

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult
from finetune.trust import shift

__all__ = ["DataShift"]


class DataShift(Check):
    """How well a classifier can tell training and held-out images apart."""

    name = "shift"

    def applies(self, context: CheckContext) -> bool:
        """Only where the data bring their own split: a random one has no shift."""
        return context.dataset.splits is not None

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Compare with what random splits give."""
        found = shift(context.experiment)
        differs = found is not None and found.differs
        return [
            self.result(
                "training and held-out images",
                "warn" if differs else "pass",
                None if found is None else found.auc,
                "AUC about 0.5, as with a random split",
                "There are no classes that both have."
                if found is None
                else f"A classifier separates them with an AUC of {found.auc:.2f} (p ="
                f" {found.p_value:.2g}): "
                + ("they are of different kinds." if differs else "they are of the same kind."),
                "Expect new images to be like one or the other, and trust the accuracy on that kind; or add"
                " training images of the other kind.",
            )
        ]
