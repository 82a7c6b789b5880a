"""The accuracy of a probe over the number of training images, and with more of them than there are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.curve.power_law import Extrapolation, PowerLaw, fit_power_law
from finetune.curve.subsets import fractions, subset_plan
from finetune.data.split import folds
from finetune.evaluation.intervals import accuracy_interval
from finetune.heads.regularisation import NESTED_TOLERANCE
from finetune.method import Task
from finetune.strategies.probe import Probe
from zoo.errors import DataError
from zoo.progress import progress

__all__ = ["CurvePoint", "LearningCurve", "learning_curve"]

#: Cross-validations with other folds and other subsets.
REPEATS = 2


@dataclass(frozen=True)
class CurvePoint:
    """The cross-validated accuracy with some number of training images.

    Attributes
    ----------
    n : int
        Mean number of training images.
    accuracy : float
    ci95 : (float, float)
        Its 95% interval, as of any accuracy on so many held-out images.
    """

    n: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy over the number of training images.

    Attributes
    ----------
    points : list of CurvePoint
        What was measured, ascending.
    now : Extrapolation
        With all training images; cross-validation trains on a part of them.
    more : Extrapolation
        With `factor` times as many.
    factor : float
    gain : float
        By how much accuracy is expected to grow from `now` to `more`.
    gain95 : (float, float)
        Its 95% interval, which is narrower than those of the two accuracies: both are of the same images.
    exponent : (float, float, float)
        Of the power law: median and 95% interval.
    n_classes : int
    n_groups : int or None
        Groups of the training images, where they form groups.
    features : str
        What the probe read of the network.
    """

    points: list[CurvePoint]
    now: Extrapolation
    more: Extrapolation
    factor: float
    gain: float
    gain95: tuple[float, float]
    exponent: tuple[float, float, float]
    n_classes: int
    n_groups: int | None
    features: str = "last"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it, with the sentences."""
        return {**asdict(self), "summary": self.summary()}

    def summary(self) -> str:
        """Return in two sentences what more images would give."""
        times = "Twice" if self.factor == 2 else f"{self.factor:g} times"
        lo, hi = self.gain95
        text = (
            f"{times} as many images would give about {self.more.accuracy:.0%} ({_range(self.more.ci95)}), "
            f"where {self.now.n:,} give {self.now.accuracy:.0%} ({_range(self.now.ci95)}). "
        )
        if lo > 0.01:
            return f"{text}That is {100 * self.gain:.1f} points more ({_points(lo, hi)}): label more."
        if hi < 0.01:
            return f"{text}That is less than one point more: look at mistakes and labels instead."
        return f"{text}That is {100 * self.gain:.1f} points more ({_points(lo, hi)})."


def learning_curve(
    task: Task,
    probe: Probe | None = None,
    *,
    factor: float = 2.0,
    repeats: int = REPEATS,
) -> LearningCurve:
    """Measure a probe's accuracy with parts of the training images, and extrapolate.

    At each size, one L2 is chosen by the loss on the images not trained on, as in a probe's own
    cross-validation.

    Parameters
    ----------
    task : Task
        Training images with their features. Its folds give the number of folds only.
    probe : Probe, optional
        With its options; only a linear head.
    factor : float, optional
        How many times as many images to extrapolate to.
    repeats : int, optional
        Cross-validations with other draws.

    Raises
    ------
    DataError
        If `factor` is not above 1, or there are too few images for two sizes.
    """
    if not factor > 1:
        raise DataError(f"--factor is {factor:g}.", "Give a number above 1, such as 2.")
    probe, train = probe or Probe(), task.train
    dealt = folds(train.labels, task.folds.n_folds, train.groups, task.seed, repeats)
    shares = _shares(task, dealt.pairs[0][0])
    errors, by_fold, sizes = [], [], []
    with progress("learning curve", len(shares), "sizes") as advance:
        for share in shares:
            plan = subset_plan(train.labels, dealt, share, train.groups, task.seed)
            path = probe.paths(task, plan, NESTED_TOLERANCE).path()
            wrong = path.best().held_out[0].argmax(axis=1) != train.labels[plan.order(0)]
            errors.append(np.bincount(plan.order(0), wrong, len(train)) / repeats)
            ends = np.cumsum([len(rows) for _, rows in plan.choices[0]])[:-1]
            by_fold.append([part.mean() for part in np.split(wrong, ends)])
            sizes.append(float(np.mean([len(rows) for rows in plan.trains])))
            advance(1)
    return _concluded(task, np.array(sizes), np.array(errors), np.array(by_fold), factor)


def _shares(task: Task, one_part: NDArray[np.int64]) -> list[float]:
    shares = fractions(len(one_part), len(task.classes))
    if len(shares) < 2:
        raise DataError(
            f"{len(task.train)} training images of {len(task.classes)} classes are too few for a curve.",
            "Label at least 10 images of each class first.",
        )
    return shares


def _concluded(
    task: Task,
    sizes: NDArray[np.float64],
    errors: NDArray[np.float64],
    by_fold: NDArray[np.float64],
    factor: float,
) -> LearningCurve:
    train = task.train
    groups = np.arange(len(train)) if train.groups is None else train.groups
    index = np.unique(groups, return_inverse=True)[1]
    law = fit_power_law(sizes, errors, _noise(by_fold), index, task.seed)
    points = []
    for size, row in zip(sizes, errors, strict=True):
        found = accuracy_interval(1 - row, train.groups)
        points.append(CurvePoint(round(size), found.accuracy, found.ci95))
    last = points[-1]
    least = (last.accuracy - last.ci95[0], last.ci95[1] - last.accuracy)
    n, more = len(train), round(factor * len(train))
    gain, *gain95 = law.gain(n, more)
    return LearningCurve(
        points,
        law.at(n, least),
        law.at(more, least),
        factor,
        gain,
        (gain95[0], gain95[1]),
        _exponent(law),
        len(task.classes),
        None if train.groups is None else int(index.max()) + 1,
    )


def _noise(by_fold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of each size's mean that is due to the training sets, (j,).

    What is left of the errors by size and fold, (j, f), when the means of sizes and of folds are taken off: a
    fold whose images are hard is hard for every size.
    """
    j, f = by_fold.shape
    left = by_fold - by_fold.mean(axis=0) - by_fold.mean(axis=1, keepdims=True) + by_fold.mean()
    variance = (left**2).sum(axis=1) / max(1.0, (f - 1) * (j - 1) / j)
    noise: NDArray[np.float64] = np.sqrt(variance / f)
    return noise


def _exponent(law: PowerLaw) -> tuple[float, float, float]:
    low, middle, high = np.quantile(law.c, [0.025, 0.5, 0.975])
    return float(middle), float(low), float(high)


def _range(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f}"


def _points(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"
