"""Likely label errors and outliers; :mod:`finetune.checks.label_ranking` explains how they are found."""

from __future__ import annotations

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult
from finetune.checks.label_ranking import CONFIDENT, OUTLIER

__all__ = ["Labels"]


class Labels(Check):
    """Images that are unlike their class, or unlike any other image."""

    name = "labels"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Count the images that are worth a look; ``context.ranking`` has all of them."""
        wrong = [image for image in context.ranking if image.likely_label_error]
        outliers = [image for image in context.ranking if image.outlier]
        n = len(context.dataset)
        return [
            self.result(
                "likely label errors",
                "warn" if wrong else "pass",
                len(wrong),
                f"no image for which another class has a probability of {CONFIDENT:g} or more",
                f"{len(wrong)} of {n} images ({len(wrong) / n:.1%}); the likeliest: {wrong[0].path} is"
                f" labelled {wrong[0].label!r} and predicted as {wrong[0].predicted!r}."
                if wrong
                else "No image is confidently predicted as another class by classifiers not trained on it.",
                "Look at them in check.html and correct wrong labels. Remove no image for being hard.",
                [vars(image) for image in wrong],
            ),
            self.result(
                "outliers",
                "warn" if outliers else "pass",
                len(outliers),
                f"no image {OUTLIER:g} robust standard deviations farther from its neighbours than usual",
                f"{len(outliers)} of {n} images are like no other; the farthest from all: "
                f"{max(outliers, key=lambda image: image.outlier_score).path}."
                if outliers
                else "Every image has others that are like it.",
                "Check that they belong here: placeholders, screenshots and scans do not.",
                [vars(image) for image in outliers],
            ),
        ]
