"""Can it learn twenty images by heart? What cannot has a fault in training, features or labels.

(CS231n, "Babysitting the learning process": overfit a tiny subset of the data.)
"""

import numpy as np

from finetune.checks.contract import Finding, Subject
from finetune.checks.trained_part import draw, loss_of, problems_of
from finetune.heads.linear import solve
from finetune.heads.regularisation import WEAKEST

__all__ = ["check"]

IMAGES = 20


def check(subject: Subject) -> list[Finding]:
    """Fit twenty training images with next to no penalty.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        One, ``twenty images``.
    """
    rows = draw(subject, IMAGES)
    problems, loss = problems_of(subject, rows), loss_of(subject)
    scores = problems.scores(solve(problems, WEAKEST, loss))
    wrong = rows[scores[0].argmax(axis=0) != problems.y]
    mean = float(loss(scores, problems.y)[0].mean())
    root = [subject.split.train[row] for row in wrong]
    return [
        Finding(
            check="overfit",
            name="twenty images",
            status="fail" if len(wrong) else "pass",
            value=1 - len(wrong) / len(rows),
            threshold="all of them called right",
            meaning=f"{len(rows) - len(wrong)} of {len(rows)} images learned by heart, loss {mean:.2g}.",
            todo="Look at the images that were not learned: different labels on equal pictures, or features"
            " that do not tell them apart."
            if len(wrong)
            else "",
            details=[{"path": subject.dataset.names[i]} for i in np.asarray(root, np.int64)],
        )
    ]
