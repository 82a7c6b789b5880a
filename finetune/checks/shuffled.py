"""Does the probe fall to chance when its labels are shuffled? If not, held-out images are seen in training.

Shuffling leaves nothing to be learned, so that whatever is called right beyond the largest class's share
was known before. (A permutation test of the whole procedure: Ojala and Garriga 2010, JMLR 11.)
"""

import math

import numpy as np

from finetune.checks.contract import Finding, Status, Subject
from finetune.data.split import Folds
from finetune.method import Images, Task
from finetune.strategies import probe

__all__ = ["check"]

#: Training images that are shuffled at most; more would only take longer.
MOST = 1000

#: Standard deviations above the largest class's share.
SUSPICIOUS, SURE = 3.0, 4.0


def check(subject: Subject) -> list[Finding]:
    """Cross-validate a probe on shuffled labels.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        One, ``chance``.
    """
    task = _shuffled(subject)
    options = subject.options if subject.strategy == "probe" else probe.Options()
    accuracy = float(probe.fit(task, subject.backbone, options).choice["cv_accuracy"])
    n = len(task.train)
    chance = np.bincount(task.train.labels).max() / n
    deviation = math.sqrt(chance * (1 - chance) / n)
    excess = (accuracy - chance) / deviation
    status: Status = "fail" if excess > SURE else "warn" if excess > SUSPICIOUS else "pass"
    return [
        Finding(
            check="shuffled",
            name="chance",
            status=status,
            value=accuracy,
            threshold=f"at most {chance + SUSPICIOUS * deviation:.1%}: the largest class's share and "
            f"{SUSPICIOUS:g} deviations; {SURE:g} fail",
            meaning=f"With shuffled labels, {accuracy:.1%} of held-out images are called right: "
            + ("nothing leaks." if status == "pass" else "they are known to the training."),
            todo=""
            if status == "pass"
            else "Look for images that stand in a training fold and in its held-out fold at once.",
        )
    ]


def _shuffled(subject: Subject) -> Task:
    """The task with its labels shuffled, on the folds that a strategy is given."""
    train, generator = subject.task.train, np.random.default_rng([subject.seed, 9])
    kept = np.sort(generator.permutation(len(train))[:MOST])
    place = np.full(len(train), -1)
    place[kept] = np.arange(len(kept))
    pairs = [tuple(place[rows][place[rows] >= 0] for rows in pair) for pair in subject.task.folds.pairs]
    used = [(a, b) for a, b in pairs if len(a) and len(b)]
    chosen = train.subset(kept)
    images = Images(chosen.paths, generator.permutation(chosen.labels), chosen.X)
    return Task(images, Folds(used, len(used)), subject.task.classes, subject.seed)
