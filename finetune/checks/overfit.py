"""Can twenty images be memorised? If not, something is wrong with the training, the images or their labels.

(CS231n, "Babysitting the learning process": overfit a tiny subset of the data.)
"""

from __future__ import annotations

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult

__all__ = ["Overfit"]

IMAGES = 20


class Overfit(Check):
    """A fit of twenty images with next to no regularisation."""

    name = "overfit"

    def applies(self, context: CheckContext) -> bool:
        """Only where something is trained."""
        return context.trainable is not None

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Fit the images and list those that were not learned."""
        part = context.trainable
        assert part is not None
        rows = part.rows(IMAGES)
        fitted = part.memorise(rows)
        names = dict(zip(context.dataset.paths, context.dataset.names, strict=True))
        wrong = [] if fitted is None else [names[part.images.paths[row]] for row in fitted.wrong]
        learned = fitted is not None and fitted.accuracy == 1 and not wrong
        return [
            self.result(
                "20 images",
                "pass" if learned else "fail",
                None if fitted is None else fitted.accuracy,
                "accuracy 1",
                "The loss diverged."
                if fitted is None
                else f"{round(fitted.accuracy * len(rows))} of {len(rows)} images are memorised {fitted.how},"
                f" with a loss of {fitted.loss:.2g}.",
                "Look at the images that were not learned: equal images with different labels, or images"
                " that all look alike to the network.",
                [{"path": name} for name in wrong],
            )
        ]
