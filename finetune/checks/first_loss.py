"""Before anything is learned, the loss is known: log c of the softmax, c - 1 of the multi-class hinge.

(Stanford's CS231n notes, "Babysitting the learning process": look for the correct loss at chance
performance, and see that regularisation makes it larger.) Another value means that the loss or the first
weights are not what they should be.
"""

import math

import numpy as np

from finetune.checks.contract import Finding, Subject
from finetune.checks.trained_part import draw, in_float64, loss_of, objective, problems_of

__all__ = ["check"]

#: Share by which the first loss may differ; the rounding of the hinge's corner takes none of it.
TOLERANCE = 1e-3

#: Weights and a strength at which the penalty must show.
WEIGHT, L2 = 0.01, 1.0


def check(subject: Subject) -> list[Finding]:
    """Compare the first loss with what it must be, and see that the penalty raises it.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``first loss`` and ``penalty``.
    """
    problems = in_float64(problems_of(subject, draw(subject)))
    loss, c = loss_of(subject), len(subject.task.classes)
    start = problems.start().astype(np.float64)
    first, _ = objective(problems, start, 0.0, loss)
    wanted, formula = (math.log(c), f"log {c}") if subject.options.loss == "softmax" else (c - 1, f"{c} - 1")
    right = math.isfinite(first) and abs(first - wanted) <= TOLERANCE * wanted
    theta = WEIGHT * np.random.default_rng(subject.seed).normal(size=start.shape)
    without, having = (objective(problems, theta, l2, loss)[0] for l2 in (0.0, L2))
    higher = having > without
    return [
        Finding(
            check="first-loss",
            name="first loss",
            status="pass" if right else "fail",
            value=first if math.isfinite(first) else str(first),
            threshold=f"{formula} = {wanted:.4g} ± {TOLERANCE:.1%}",
            meaning="With all scores equal, the loss is that of knowing nothing."
            if right
            else "With all scores equal, this is not the loss of knowing nothing.",
            todo="" if right else "Look at the loss, at the first weights, and for NaN among the features.",
        ),
        Finding(
            check="first-loss",
            name="penalty",
            status="pass" if higher else "fail",
            value=having - without if math.isfinite(having - without) else str(having - without),
            threshold="above 0: an L2 penalty raises the loss",
            meaning=f"An L2 strength of {L2:g} changes the loss from {without:.4g} to {having:.4g}.",
            todo="" if higher else "Look at how the penalty is added.",
        ),
    ]
