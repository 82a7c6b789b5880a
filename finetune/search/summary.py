"""What a search found: the finalists, and by how much the best of them beats the defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from finetune.errors import TrainingError
from finetune.method import Task
from finetune.search.trials import Trial
from finetune.space import LogUniform, Space

__all__ = ["border_warnings", "candidates", "difference", "summary"]

#: A best value in this share of the range from its end is at its border.
BORDER = 0.05


def summary(trials: Sequence[Trial], space: Space, task: Task) -> dict[str, Any]:
    """Return what ``run.json`` holds of a search.

    Parameters
    ----------
    trials : sequence of Trial
    space : Space
        What was searched.
    task : Task
        Training images that the trials were made with.

    Returns
    -------
    dict
        Counts; ``finalists``, the best first, each with ``params``, ``loss``, ``accuracy`` and whether it is
        the ``default``; and ``difference``, of the best other finalist to the default as by
        :func:`difference`, or None.

    Raises
    ------
    TrainingError
        If every training diverged.
    """
    found = candidates(trials)
    default = next((trial for trial, is_default in found if is_default), None)
    other = next((trial for trial, is_default in found if not is_default), None)
    return {
        "trials": sum(t.stage != "final" for t in trials),
        "pruned": sum(t.state == "pruned" for t in trials),
        "diverged": sum(t.state == "diverged" for t in trials),
        "seconds": round(sum(t.seconds for t in trials), 3),
        "over": list(space),
        "folds": len(found[0][0].folds),
        "finalists": [
            {"params": t.params, "loss": t.loss, "accuracy": t.accuracy, "default": is_default}
            for t, is_default in found
        ],
        "difference": difference(other, default, task) if other and default else None,
    }


def candidates(trials: Sequence[Trial]) -> list[tuple[Trial, bool]]:
    """Return the trials of the final stage, the best first, and whether each is the default.

    Among equals the default is the first.

    Raises
    ------
    TrainingError
        If every training diverged.
    """
    defaults = [t for t in trials if t.stage == "default" and t.folds]
    params = min(defaults, key=lambda t: t.loss).params if defaults else None
    found = [(t, t.params == params) for t in trials if t.stage == "final" and t.folds]
    if not found:
        raise TrainingError("The training diverged in every trial.", "Give a lower --lr.")
    return sorted(found, key=lambda one: (one[0].loss, not one[1]))


def difference(a: Trial, b: Trial, task: Task) -> dict[str, float]:
    """Return how much more accurate `a` is than `b` on the same held-out images, with a 95% interval.

    Without groups the interval is that of Agresti and Min 2005 ("Simple improved confidence intervals for
    comparing matched proportions", Statistics in Medicine 24): Wald's, with half an image more in each cell.
    Images of one group are not independent, so that with groups the variance is that of the groups' sums
    (the cluster-robust one) and the quantile Student's. It is about other images, not other training images.

    Returns
    -------
    dict
        ``accuracy``, ``low``, ``high`` and ``n``, the number of images.
    """
    from scipy.special import stdtrit

    rows = np.concatenate([task.folds.pairs[f.fold][1] for f in a.folds])
    d = np.isin(rows, list(b.wrong)).astype(float) - np.isin(rows, list(a.wrong))
    n, total = len(d), float(d.sum())
    if task.train.groups is None:
        mean = total / (n + 2)
        spread = (float(np.abs(d).sum()) + 1) / (n + 2) - mean**2
        reach = 1.96 * math.sqrt(spread / (n + 2))
    else:
        mean = total / n
        _, group = np.unique(task.train.groups[rows], return_inverse=True)
        sums = np.bincount(group, weights=d - mean)
        k = len(sums)
        reach = float(stdtrit(k - 1, 0.975)) * math.sqrt(k / (k - 1) * float((sums**2).sum())) / n
    return {"accuracy": total / n, "low": mean - reach, "high": mean + reach, "n": n}


def border_warnings(trials: Sequence[Trial], space: Space) -> list[str]:
    """Return a line for each parameter whose best value lies at an end of its range."""
    params, lines = candidates(trials)[0][0].params, []
    for name, parameter in space.items():
        if not isinstance(parameter, LogUniform) or name not in params:
            continue
        position = parameter.position(params[name])
        if not BORDER < position < 1 - BORDER:
            end = "lower" if position < 0.5 else "upper"
            lines.append(
                f"The best {name.replace('_', ' ')} ({params[name]:g}) is at the {end} end of the range "
                f"searched, {parameter.low:g} to {parameter.high:g}: a better value may lie beyond it."
            )
    return lines
