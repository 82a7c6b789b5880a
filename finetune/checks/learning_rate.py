"""Which learning rates work: one run in which the learning rate rises with every update until it diverges.

(The range test of L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017.) All
updates use the same images, so that the curve has no other noise. A learning rate is too low if a whole
training at its pace would hardly change the loss, and too high from where the loss goes up for good.
"""

from __future__ import annotations

import numpy as np

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, Status
from finetune.checks.trainable import Step, Trainable
from finetune.report.charts import Level, lr_curve, standalone

__all__ = ["LearningRate"]

#: Eight a decade.
LRS = 10.0 ** np.arange(-6, 1, 0.125)

BATCH = 16

#: Share of the first loss that a whole training must be able to change, and that the loss may go up by.
SHARE = 0.1

#: The ends of the range are known within this factor only.
FACTOR = 2.0

#: A user's learning rate that is this many times outside the range fails.
FAR = 10.0

#: Update : weight at the learning rate that is used, a good decade to either side of 1e-3.
RATIO = (5e-5, 3e-2)

_PICTURE = "learning-rate.svg"


class LearningRate(Check):
    """The range of learning rates that work, and the size of an update."""

    name = "learning-rate"

    def applies(self, context: CheckContext) -> bool:
        """Only where there is a learning rate."""
        return context.trainable is not None and bool(context.trainable.lrs)

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Draw the curve and compare the learning rates that would be used with those that work."""
        part = context.trainable
        assert part is not None
        steps = _rising(part)
        works = _range([step.loss for step in steps], part.n_updates)
        if steps:
            # A step's loss is that before its update: the next one's is what the learning rate led to.
            curve = [(float(lr), after.loss) for lr, after in zip(LRS, steps[1:], strict=False)]
            svg = lr_curve(curve, steps[0].loss, works, [Level(lr, "used") for lr in part.lrs])
            (context.pictures / _PICTURE).write_text(standalone(svg), encoding="utf-8")
        return [self._judge(part, steps, works), self._ratio(part, steps)]

    def _judge(self, part: Trainable, steps: list[Step], works: tuple[float, float] | None) -> CheckResult:
        status, words = _compared(part.lrs, works, FAR if part.lr_given else np.inf)
        used = ", ".join(f"{lr:g}" for lr in sorted(part.lrs))
        return self.result(
            "learning rate",
            status,
            f"{works[0]:.1e} to {works[1]:.1e}" if works else None,
            f"within a factor of {FACTOR:g} of the range that works; an --lr {FAR:g} times outside fails",
            f"Learning rates from {works[0]:.1e} to {works[1]:.1e} work. This training uses {used}{words}. "
            f"See pictures/{_PICTURE}."
            if works
            else "No learning rate reduces the loss.",
            "Give an --lr within the range."
            if works
            else "Look at the other failed checks first: nothing is learned at all.",
            [
                {"lr": float(lr), "loss": after.loss, "update_ratio": step.ratio}
                for lr, step, after in zip(LRS, steps[:-1], steps[1:], strict=False)
            ],
        )

    def _ratio(self, part: Trainable, steps: list[Step]) -> CheckResult:
        lr = part.lrs[0]
        place = int(np.abs(np.log(LRS) - np.log(lr)).argmin())
        ratio = steps[place].ratio if place < len(steps) else None
        usual = ratio is not None and RATIO[0] <= ratio <= RATIO[1]
        return self.result(
            "update : weight",
            "pass" if usual else "warn",
            ratio,
            f"{RATIO[0]:g} to {RATIO[1]:g}; about 1e-3 is usual",
            f"At a learning rate of {lr:g}, the norm of an update is {ratio:.1e} of that of the weights."
            if ratio is not None
            else f"The loss diverged before a learning rate of {lr:g} was reached.",
            "Choose a learning rate nearer to the middle of the range that works.",
        )


def _rising(part: Trainable) -> list[Step]:
    """Return the steps of one run at rising learning rates; it ends where the loss diverges."""
    found: list[Step] = []
    for step in part.steps(part.rows(BATCH), [*LRS, 0.0]):
        found.append(step)
        if not step.loss < 3 * found[0].loss + 1:  # what would follow is worse yet
            break
    return found


def _range(losses: list[float], n_updates: int) -> tuple[float, float] | None:
    """Return the lowest and the highest learning rate that work."""
    if len(losses) < 2:
        return None
    share = SHARE * losses[0]
    pace = -np.diff(losses)
    quick = np.flatnonzero(pace * n_updates >= share)
    if not len(quick):
        return None
    low = int(quick[0])
    # The last that still comes near the lowest: momentum may carry the loss up and down again before.
    high = int(np.flatnonzero(np.array(losses[1:]) <= min(losses) + share)[-1])
    return (float(LRS[low]), float(LRS[high])) if high >= low else None


def _compared(lrs: tuple[float, ...], works: tuple[float, float] | None, far: float) -> tuple[Status, str]:
    """Return how learning rates lie to the range that works, and the words for it."""
    if works is None:
        return "fail", ""
    low, high = works
    outside = [lr for lr in lrs if not low / FACTOR <= lr <= high * FACTOR]
    words = "".join(f"; {lr:g} is too {'low' if lr < low else 'high'}" for lr in outside)
    if any(lr < low / far or lr > high * far for lr in lrs):
        return "fail", words
    return ("warn" if words else "pass"), words
