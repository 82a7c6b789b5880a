"""Is the data what it should be: sizes of the classes and of the images, names, contents of the folder."""

from __future__ import annotations

import numpy as np

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, listed
from finetune.data.class_names import similar_classes
from finetune.data.statistics import column

__all__ = ["Data"]

#: The largest class may be this many times the smallest before it is worth weighting them.
IMBALANCE = 5.0

#: With fewer training images than this, a fold evaluates a class on one or two images.
FEW_IMAGES = 10

#: An image is far too small if its shorter side is below this share of the network's input.
FAR_BELOW = 0.5

#: Share of the images that may be so small.
FEW = 0.05

#: Kinds of notices that are the subject of another check.
ELSEWHERE = ("copies", "label conflict", "similar class names")

#: Kinds of notices about what reading the data has already handled.
HANDLED = ("splits", "ignored files", "unused folders", "class names", "masks", "merged folders")


class Data(Check):
    """Counts, files, sizes and names."""

    name = "data"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Check what needs no features."""
        return [
            self._balance(context),
            self._smallest(context),
            self._sizes(context),
            self._names(context),
            *self._notices(context),
        ]

    def _balance(self, context: CheckContext) -> CheckResult:
        counts = context.dataset.counts
        largest, smallest = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
        ratio = counts[largest] / counts[smallest]
        return self.result(
            "class sizes",
            "warn" if ratio > IMBALANCE else "pass",
            ratio,
            f"largest / smallest at most {IMBALANCE:g}",
            f"{largest!r} has {counts[largest]} images, {smallest!r} has {counts[smallest]}.",
            "Look at balanced accuracy, and try --class-weight balanced.",
            [{"class": name, "images": n} for name, n in counts.items()],
        )

    def _smallest(self, context: CheckContext) -> CheckResult:
        classes = context.dataset.classes
        counts = np.bincount(context.task.train.labels, minlength=len(classes))
        few = [f"{classes[i]!r} ({counts[i]})" for i in np.flatnonzero(counts < FEW_IMAGES)]
        return self.result(
            "smallest class",
            "warn" if few else "pass",
            int(counts.min()),
            f"at least {FEW_IMAGES} training images",
            f"There are few training images of {listed(few)}."
            if few
            else "Every class has enough images to be evaluated.",
            "Add images to these classes; until then, their recall is little more than a guess.",
        )

    def _sizes(self, context: CheckContext) -> CheckResult:
        """Compare the shorter side, which is what is resized."""
        wanted = min(context.experiment.backbone.preprocess.input_size)
        statistics = context.experiment.matrices["statistics"]
        shorter = np.minimum(column(statistics, "width"), column(statistics, "height"))
        small = np.flatnonzero(shorter < FAR_BELOW * wanted)
        share = len(small) / len(shorter)
        return self.result(
            "image sizes",
            "warn" if share > FEW else "pass",
            float(np.median(shorter)),
            f"shorter side at least {FAR_BELOW * wanted:g} pixels in {1 - FEW:.0%} of the images",
            f"The median shorter side is {np.median(shorter):g} pixels, the network takes {wanted}; "
            f"{share:.0%} of the images have less than half of that.",
            "Get the images in a higher resolution, or choose a network with a smaller input.",
            [{"path": context.dataset.names[i], "shorter_side": float(shorter[i])} for i in small[:20]],
        )

    def _names(self, context: CheckContext) -> CheckResult:
        """Find classes that a person would read as the same."""
        pairs = [" and ".join(map(repr, names)) for names in similar_classes(context.dataset.classes)]
        return self.result(
            "class names",
            "fail" if pairs else "pass",
            len(pairs),
            "no two that look alike",
            f"These look alike (case, blanks, Unicode form, letters of another script): {listed(pairs)}."
            if pairs
            else "All are distinct.",
            "Merge them if they are one class; otherwise give them names that differ.",
        )

    def _notices(self, context: CheckContext) -> list[CheckResult]:
        """Repeat the notices about the folder, with more examples."""
        notices = [notice for notice in context.dataset.notices if notice.kind not in ELSEWHERE]
        if not notices:
            return [
                self.result("contents", "pass", 0, "nothing that stands out", "No file or folder stands out.")
            ]
        return [
            self.result(
                notice.kind,
                "pass" if notice.kind in HANDLED else "warn",
                notice.count,
                "for information" if notice.kind in HANDLED else "none",
                notice.message,
                "Look at these and remove what does not belong here.",
                [{"name": name} for name in notice.examples],
            )
            for notice in notices
        ]
