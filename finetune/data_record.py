"""What ``run.json`` says of the images: what they are, how they are split, what they give without a CNN."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finetune.heads.linear import Problems, solve
from finetune.runs.record import DataCopies, Reference, RunData, RunSplit

if TYPE_CHECKING:
    from finetune.experiment import Experiment
    from finetune.trust import Assessment

__all__ = ["copies_record", "data_record", "reference", "split_record"]

#: L2 of the reference on pixels, in the middle of what serves there.
REFERENCE_L2 = 0.1


def data_record(experiment: Experiment) -> RunData:
    """Return what the images are; copies are added by :func:`copies_record` once they are evaluated."""
    dataset = experiment.dataset
    root = Path(dataset.root)
    return RunData(
        path=experiment.request.data,
        n_images=len(dataset),
        classes=list(dataset.classes),
        counts=dataset.counts,
        skipped=[replace(skipped, path=_relative(skipped.path, root)) for skipped in dataset.skipped],
        ignored=dataset.ignored,
        notices=list(dataset.notices),
        fingerprint=experiment.fingerprint,
    )


def copies_record(experiment: Experiment, found: Assessment) -> DataCopies:
    """Return which images show one thing."""
    copies = experiment.copies.copies
    return DataCopies(
        pairs=len(copies.pairs),
        groups=copies.n_groups,
        images=copies.n_images,
        held_out_with_copy=found.held_out_with_copy,
    )


def split_record(experiment: Experiment) -> RunSplit:
    """Return how training and held-out images were separated."""
    groups = experiment.dataset.groups
    return RunSplit(
        kind=experiment.split.kind,
        n_train=len(experiment.split.train),
        n_test=len(experiment.split.test),
        n_groups=None if groups is None else len(np.unique(groups)),
    )


def reference(experiment: Experiment) -> Reference:
    """Evaluate what the same held-out images give without a CNN."""
    pixels, labels, split = experiment.matrices["pixels"], experiment.dataset.labels, experiment.split
    y, truth = labels[split.train], labels[split.test]
    n_classes = len(experiment.dataset.classes)
    problem = Problems(pixels[split.train], y, np.ones((1, len(y)), np.float32), n_classes)
    classifier = problem.classifier(solve(problem, REFERENCE_L2, tolerance=1e-3))
    predicted = classifier.decision_function(pixels[split.test]).argmax(axis=1)
    majority = np.bincount(y, minlength=n_classes).argmax()
    return Reference(
        raw_pixels_accuracy=float((predicted == truth).mean()),
        majority_accuracy=float((truth == majority).mean()),
    )


def _relative(path: Path, root: Path) -> Path:
    """Return a file's place within the data where it lies there."""
    base = root if root.is_dir() else root.parent
    return path.relative_to(base) if path.is_relative_to(base) else path
