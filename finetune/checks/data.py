"""Is the data what it should be: sizes of the classes and of the images, files, names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, listed

__all__ = ["Data"]

#: The largest class may be this many times the smallest before it is worth weighting them.
IMBALANCE = 5.0

#: With fewer training images than this, a fold evaluates a class on one or two images.
FEW_IMAGES = 10

#: An image is far too small if its shorter side is below this share of the network's input.
FAR_BELOW = 0.5

#: Share of the images that may be so small.
FEW = 0.05


class Data(Check):
    """Counts, files, sizes and names."""

    name = "data"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Check what needs no features."""
        return [
            self._balance(context),
            self._smallest(context),
            self._files(context),
            self._sizes(context),
            self._names(context),
            self._held_out(context),
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

    def _files(self, context: CheckContext) -> CheckResult:
        root, files = Path(context.dataset.root), context.dataset.skipped
        names = [f"{os.path.relpath(f.path, root)} ({f.reason})" for f in files]
        return self.result(
            "files",
            "warn" if files else "pass",
            len(files),
            "no unreadable files",
            f"Left out: {listed(names)}." if files else "Every file is a readable image.",
            "Copy these files again from where they came, or remove them.",
            [{"path": os.fspath(f.path), "reason": f.reason} for f in files],
        )

    def _sizes(self, context: CheckContext) -> CheckResult:
        """Compare the shorter side, which is what is resized."""
        wanted = min(context.experiment.backbone.preprocess.input_size)
        shorter = context.experiment.matrices["ImageSizes"].min(axis=1)
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
        alike: dict[str, list[str]] = {}
        for name in context.dataset.classes:
            alike.setdefault("".join(name.split()).casefold(), []).append(name)
        pairs = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
        return self.result(
            "class names",
            "fail" if pairs else "pass",
            len(pairs),
            "no two that differ in case or blanks only",
            f"These differ in case or blanks only: {listed(pairs)}." if pairs else "All are distinct.",
            "Merge them if they are one class; otherwise give them names that differ.",
        )

    def _held_out(self, context: CheckContext) -> CheckResult:
        """Find classes that are trained but never evaluated; the opposite is an error when data is read."""
        dataset = context.dataset
        held_out = set(dataset.labels[context.experiment.split.test].tolist())
        missing = [repr(name) for i, name in enumerate(dataset.classes) if i not in held_out]
        return self.result(
            "held-out classes",
            "warn" if missing else "pass",
            len(missing),
            "every class has held-out images",
            f"There are no held-out images of {listed(missing)}." if missing else "All classes are held out.",
            "Hold out images of these classes too: the accuracy says nothing about them.",
        )
