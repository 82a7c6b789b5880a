"""Can the network learn twenty images by heart? What cannot has a fault in training, images or labels.

(CS231n, "Babysitting the learning process": overfit a tiny subset of the data, regularisation off.)
"""

from typing import Any

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.network.part import SIDE
from finetune.training.checkpoint import Leg
from finetune.training.learner import Diverged
from finetune.training.loop import train
from finetune.training.network import depthwise_in_fp32
from finetune.training.recipe import Recipe
from finetune.training.sources import Pictures

__all__ = ["check"]

IMAGES = 20

#: Learned by heart: the loss of a probability of 95% for the right class.
LEARNED = 0.05

#: Passes over the twenty, each one update. The rate is this check's own, for a user's is another's matter.
EPOCHS, RATE = 100, 1e-3


def check(subject: Subject) -> list[Finding]:
    """Train on twenty images from a new classifier, by the loop that trains, until they are known.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        One, ``twenty images``.
    """
    part = subject.network
    rows = part.rows(IMAGES)
    job = part.job(SIDE)
    recipe = Recipe(
        rate=RATE,
        epochs=EPOCHS,
        batch=IMAGES,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.05,
        bn=part.plan.recipe.bn,
        patience=EPOCHS,
    )
    part.begin("random")
    try:
        with depthwise_in_fp32(job.network):
            log = train(job, rows, recipe, Leg(None, 0), "twenty images", hopeless=_known).log
    except Diverged as error:
        return [_finding("fail", None, error.problem, [])]
    last = log[-1]
    size = min(SIDE, *part.ready.size) if isinstance(job.source, Pictures) else min(part.ready.size)
    meaning = (
        f"{round(last['accuracy'] * len(rows))} of {len(rows)} images learned by heart in {len(log)} updates,"
        f" loss {last['loss']:.2g}, at {size} pixels a side, without weight decay and augmentation."
    )
    return [_finding("pass" if _known(log) else "fail", last["accuracy"], meaning, log)]


def _known(log: list[dict[str, Any]]) -> bool:
    return bool(log) and log[-1]["accuracy"] == 1 and log[-1]["loss"] <= LEARNED


def _finding(status: Status, value: float | None, meaning: str, log: list[dict[str, Any]]) -> Finding:
    return Finding(
        check="overfit",
        name="twenty images",
        status=status,
        value=value,
        threshold=f"all of them called right, loss at most {LEARNED:g}",
        meaning=meaning,
        todo=""
        if status == "pass"
        else "Look whether pictures and labels belong together, and whether anything moves.",
        details=[{key: line[key] for key in ("epoch", "loss", "accuracy")} for line in log],
    )
