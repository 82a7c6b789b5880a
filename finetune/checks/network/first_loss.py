"""The first loss of a network with a new classifier is known: log c, for it calls all classes alike.

(Stanford's CS231n notes, "Babysitting the learning process".) Another value means that the loss, its weights
or the classifier's first weights are not what they should be.
"""

import math

import torch

from finetune.checks.contract import Finding, Subject

__all__ = ["check"]

#: Share of log c by which the first loss may differ: a new classifier is near zero and not zero.
TOLERANCE = 0.02

BATCH = 16


def check(subject: Subject) -> list[Finding]:
    """Compare the first loss with log c, see that weight decay counts, and what the probe makes of it.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``first loss``, ``penalty`` and ``probe's start``.
    """
    first, penalty = _first(subject, "random")
    probed, _ = _first(subject, "probe")
    return [_new(subject, first), _penalised(subject, first, penalty), _begun(subject, first, probed)]


def _first(subject: Subject, start: str) -> tuple[float, float]:
    """The loss of the first batch, by the code that trains, and what weight decay amounts to."""
    part = subject.network
    part.begin(start)
    rows = part.rows(BATCH)
    with part.learner(part.plan.recipe) as learner:
        labels = torch.from_numpy(part.task.train.labels[rows])
        penalty = learner.penalty()
        # The loss that an update gives back is that before it.
        loss, _, _ = learner.update(part.job().source.batch(rows, None), labels, 0, len(rows))
    return loss / len(rows), penalty


def _new(subject: Subject, first: float) -> Finding:
    wanted = math.log(len(subject.task.classes))
    right = abs(first - wanted) <= TOLERANCE * wanted  # false for nan
    return Finding(
        check="first-loss",
        name="first loss",
        status="pass" if right else "fail",
        value=first if math.isfinite(first) else str(first),
        threshold=f"log {len(subject.task.classes)} = {wanted:.4g} ± {TOLERANCE:.0%}",
        meaning="With a new classifier, the loss is that of knowing nothing."
        if right
        else "With a new classifier, this is not the loss of knowing nothing.",
        todo="" if right else "Look at the loss, at the classifier's first weights, and for NaN.",
    )


def _penalised(subject: Subject, first: float, penalty: float) -> Finding:
    decay = subject.network.plan.recipe.weight_decay
    right = penalty > 0 or decay == 0
    return Finding(
        check="first-loss",
        name="penalty",
        status="pass" if right else "fail",
        value=penalty if math.isfinite(penalty) else str(penalty),
        threshold="above 0: weight decay, counted as an L2 penalty, raises the loss",
        meaning=f"A weight decay of {decay:g} changes the loss from {first:.4g} to {first + penalty:.4g}."
        if decay
        else "No weight decay is asked for.",
        todo="" if right else "Look at which parameters weight decay is given.",
    )


def _begun(subject: Subject, first: float, probed: float) -> Finding:
    right = probed < first
    return Finding(
        check="first-loss",
        name="probe's start",
        status="pass" if right else "warn",
        value=probed if math.isfinite(probed) else str(probed),
        threshold=f"below {first:.4g}: the probe knows something",
        meaning=f"With a probe of {len(subject.network.task.train)} images as classifier, training begins at"
        f" {probed:.4g} instead of {first:.4g}.",
        todo=""
        if right
        else "A probe does not help here: are its features those that the network computes? "
        "Try --strategy probe first.",
    )
