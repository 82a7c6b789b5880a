"""Which learning rates work: one run in which the rate rises with every update, until all is lost.

(The range test of L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017.) All
updates are made on the same images, so that the curve has no noise but the rate's. A rate is too low if a
whole training at its pace would get nowhere, and too high from where the loss turns up for good.
"""

import dataclasses
from typing import Any

import numpy as np
import torch

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.drawing import Level, rate_curve
from finetune.checks.network.part import SIDE, NetworkPart
from finetune.training.learner import Diverged, Learner
from finetune.training.loop import update_ratio

__all__ = ["check"]

#: Eight a decade.
RATES = 10.0 ** np.arange(-6, 0.5, 0.125)

BATCH = 16

#: Share of the first loss that a whole training must be able to change, and that the loss may turn up by.
SHARE = 0.1

#: The range's ends are no sharper than this factor.
SHARP = 2.0

#: A user's rate that is so many times out of the range fails.
FAR = 10.0

#: Update : weight at the chosen rate, a good decade to either side of a thousandth.
RATIO = (5e-5, 3e-2)

_PICTURE = "rate.svg"


@dataclasses.dataclass(frozen=True)
class _Rise:
    """The loss before the first update and after each, and each update's ratio; it ends where all is lost."""

    losses: list[float]
    ratios: list[float]


class _Rising(Learner):
    """Learns at whatever rate it was told last."""

    def __init__(self, *of_learner: Any) -> None:
        super().__init__(*of_learner)
        self._schedule = _Still()

    def take(self, rate: float) -> None:
        """Take a rate for the next update; early layers keep their shares of it."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)


class _Still:
    """A schedule that leaves the rate alone."""

    def step_update(self, step: int) -> None:
        """Do nothing."""


def check(subject: Subject) -> list[Finding]:
    """Draw the curve and compare the rates that would be used with those that work.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``learning rate`` and ``update : weight``; the curve is among the pictures.
    """
    part = subject.network
    rise = _rise(part)
    low, high = _range(rise.losses, part.updates)
    drawn = [(float(rate), loss) for rate, loss in zip(RATES, rise.losses[1:], strict=False)]
    levels = [Level(rate, "tried") for rate in part.plan.rates]
    works = None if low is None or high is None else (float(RATES[low]), float(RATES[high]))
    svg = rate_curve(drawn, rise.losses[0], works, levels)
    (subject.pictures / _PICTURE).write_text(svg, encoding="utf-8")
    return [_judge(subject, rise, works), _ratio(part, rise)]


def _rise(part: NetworkPart) -> _Rise:
    part.begin("random")
    rows, job = part.rows(BATCH), part.job(SIDE)
    given, labels = job.source.batch(rows, None), torch.from_numpy(part.task.train.labels[rows])
    plain = dataclasses.replace(part.plan.recipe, mixup=0.0, cutmix=0.0, smoothing=0.0, ema=0.0, amp=False)
    losses: list[float] = []
    ratios: list[float] = []
    with part.learner(plain, _Rising) as learner:
        assert isinstance(learner, _Rising)
        # The loss that an update gives back is that before it; the last one is made for its loss alone.
        for step, rate in enumerate([*RATES, 0.0]):
            before = [p.detach().clone() for p in learner.named.values()]
            learner.take(float(rate))
            try:
                loss, _, _ = learner.update(given, labels, step, len(rows))
            except Diverged:
                break
            losses.append(loss / len(rows))
            ratios.append(update_ratio(learner, before))
            if not losses[-1] < 3 * losses[0] + 1:  # what comes now is worse yet
                break
    return _Rise(losses, ratios)


def _range(losses: list[float], updates: int) -> tuple[int | None, int | None]:
    """Places of the lowest and the highest rate that work."""
    step = SHARE * losses[0]
    pace = -np.diff(losses)
    quick = np.flatnonzero(pace * updates >= step)
    if not len(quick):
        return None, None
    low = int(quick[0])
    # The last that still comes near the lowest: momentum may carry the loss up and down again before.
    high = int(np.flatnonzero(np.array(losses[1:]) <= min(losses) + step)[-1])
    return (low, high) if high >= low else (None, None)


def _judge(subject: Subject, rise: _Rise, works: tuple[float, float] | None) -> Finding:
    plan = subject.network.plan
    asked = subject.options.rate is not None
    status, words = _compared(plan.rates, works, FAR if asked else np.inf)
    tried = ", ".join(f"{rate:g}" for rate in sorted(plan.rates))
    return Finding(
        check="rate",
        name="learning rate",
        status=status,
        value=f"{works[0]:.1e} to {works[1]:.1e}" if works else None,
        threshold=f"{'--rate' if asked else 'rates that are tried'} within a factor {SHARP:g} of the range; "
        f"a --rate {FAR:g} times out of it fails",
        meaning=(
            f"Rates from {works[0]:.1e} to {works[1]:.1e} work; others are too low or too high. "
            if works
            else "No rate brings the loss down. "
        )
        + f"{subject.strategy} {'uses' if asked else 'tries'} {tried}{words}. "
        f"See pictures/{_PICTURE}.",
        todo={
            "pass": "",
            "warn": "Give a --rate within the range, or see whether the choice among those tried is good.",
            "fail": "Give a --rate within the range."
            if works
            else "Look at the other failed checks first: something does not learn at all.",
        }[status],
        details=[
            {"rate": float(rate), "loss": _finite(loss), "update_to_weight": _finite(ratio)}
            for rate, loss, ratio in zip(RATES, rise.losses[1:], rise.ratios, strict=False)
        ],
    )


def _compared(rates: tuple[float, ...], works: tuple[float, float] | None, far: float) -> tuple[Status, str]:
    """How rates lie to the range that works, and the words for it."""
    if works is None:
        return "fail", ""
    low, high = works
    out = [rate for rate in rates if not low / SHARP <= rate <= high * SHARP]
    words = "".join(f"; {rate:g} is too {'low' if rate < low else 'high'}" for rate in out)
    if any(rate < low / far or rate > high * far for rate in rates):
        return "fail", words
    return ("warn" if words else "pass"), words


def _ratio(part: NetworkPart, rise: _Rise) -> Finding:
    rate = part.plan.recipe.rate
    place = int(np.abs(np.log(RATES) - np.log(rate)).argmin())
    ratio = rise.ratios[place] if place < len(rise.ratios) else None
    usual = ratio is not None and RATIO[0] <= ratio <= RATIO[1]
    return Finding(
        check="rate",
        name="update : weight",
        status="pass" if usual else "warn",
        value=_finite(ratio) if ratio is not None else None,
        threshold=f"{RATIO[0]:g} to {RATIO[1]:g}; about 1e-3 is usual",
        meaning=f"At a rate of {rate:g}, an update is {ratio:.1e} of the weights."
        if ratio is not None
        else f"A rate of {rate:g} was not reached: the loss was lost before.",
        todo="" if usual else "Choose a rate nearer to the middle of the range that works.",
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
