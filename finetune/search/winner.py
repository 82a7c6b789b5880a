"""Which values have won, and by how much they beat the defaults."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import TrainingError
from finetune.search.trials import FoldResult, Trial, defaults_of

__all__ = ["Standing", "difference", "standings"]


@dataclass(frozen=True)
class Standing:
    """How some values did in the stage that decides.

    Attributes
    ----------
    values : dict
    stage : str
        Which stage that is.
    loss, accuracy : float
        Mean log loss over folds, by which they are ranked; share that was right.
    folds : list of FoldResult
    defaults : bool
        Whether they are the defaults.
    """

    values: dict[str, Any]
    stage: str
    loss: float
    accuracy: float
    folds: list[FoldResult]
    defaults: bool


def standings(done: Sequence[Trial], starts: int) -> list[Standing]:
    """Rank what was tried by the last stage in which the defaults took part.

    Parameters
    ----------
    done : sequence of Trial
    starts : int
        How many of the first trials are the defaults and other usual values.

    Returns
    -------
    list of Standing
        The best first; all of them were judged on the same folds. Among equals the defaults win.

    Raises
    ------
    TrainingError
        If the loss was lost in every trial.
    """
    defaults = {defaults_of(done, starts).key}
    for stage in ("final", "coarse"):
        found = _compared([t for t in done if t.stage == stage], defaults)
        if found and any(s.defaults for s in found):
            return sorted(found, key=lambda s: (s.loss, not s.defaults))
    raise TrainingError("The loss was lost in every trial.", "Give a lower --rate.")


def _compared(trials: Sequence[Trial], defaults: set[str]) -> list[Standing]:
    """Values of one stage, on the rounds that all those have which got furthest together."""
    by_values: dict[str, list[Trial]] = {}
    for trial in trials:
        if not trial.stopped and not math.isinf(trial.loss):
            by_values.setdefault(trial.key, []).append(trial)
    started = len({t.key for t in trials})
    complete = [
        r for r in {t.round for t in trials} if len({t.key for t in trials if t.round == r}) == started
    ]
    rounds = set(complete) or {0}
    found = []
    for key, own in by_values.items():
        counted = [t for t in own if t.round in rounds]
        if {t.round for t in counted} != rounds:
            continue
        folds = [fold for t in counted for fold in t.folds]
        n, wrong = sum(f.n for f in folds), sum(len(f.wrong) for f in folds)
        loss = sum(t.loss for t in counted) / len(counted)
        found.append(
            Standing(counted[0].values, counted[0].stage, loss, 1 - wrong / n, folds, key in defaults)
        )
    return found


def difference(a: Standing, b: Standing) -> dict[str, float]:
    """Return how much more accurate one is than the other, on the same held-out images.

    Images that both got right or both wrong say nothing. The interval is that of Agresti and Min 2005
    ("Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24):
    Wald's, with half an image more in each cell. It speaks of other images, not of other training images.

    Returns
    -------
    dict
        ``accuracy``, ``low``, ``high`` and ``n``, the number of images.
    """
    n = sum(fold.n for fold in a.folds)
    wrong_a, wrong_b = ({i for fold in s.folds for i in fold.wrong} for s in (a, b))
    gained, lost = len(wrong_b - wrong_a), len(wrong_a - wrong_b)
    mean = (gained - lost) / (n + 2)
    spread = (gained + lost + 1) / (n + 2) - mean**2
    reach = 1.96 * math.sqrt(spread / (n + 2))
    return {"accuracy": (gained - lost) / n, "low": mean - reach, "high": mean + reach, "n": n}
