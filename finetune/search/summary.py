"""What a search found: the best options, how they compare with the defaults, and how that is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.errors import TrainingError
from finetune.method import Task
from finetune.search.trials import Trial
from finetune.space import LogUniform, Space

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "best_trial",
    "border_warnings",
    "difference",
    "print_search",
    "ranked",
    "sentence",
    "shown",
    "summary",
]

#: A best value in this share of the range from its end is at its border.
BORDER = 0.05

#: How many trials the screen shows.
MOST = 8


def summary(trials: Sequence[Trial], space: Space, task: Task) -> dict[str, Any]:
    """Return what ``run.json`` holds of a search.

    Parameters
    ----------
    trials : sequence of Trial
    space : Space
        What was searched.
    task : Task
        Training images that the trials were made with.

    Raises
    ------
    TrainingError
        If every training diverged.
    """
    best, default = best_trial(trials), default_trial(trials)
    final = [t for t in trials if t.stage == "final" and t.folds]
    others = [t for t in final if t is not default]
    compared = min(others, key=lambda t: t.loss) if others else None
    return {
        "trials": sum(t.stage != "final" for t in trials),
        "pruned": sum(t.state == "pruned" for t in trials),
        "diverged": sum(t.state == "diverged" for t in trials),
        "finalists": len(final),
        "folds": len(best.folds),
        "seconds": round(sum(t.seconds for t in trials), 3),
        "over": list(space),
        "best_is_default": best is default,
        "best": _point(best),
        "default": None if default is None else _point(default),
        "best_other": None if compared is None else _point(compared),
        "difference": difference(compared, default, task) if compared and default else None,
    }


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the final stage with the least loss; the default among equals.

    Raises
    ------
    TrainingError
        If every training diverged.
    """
    final = [t for t in trials if t.stage == "final" and t.folds]
    if not final:
        raise TrainingError("The training diverged in every trial.", "Give a lower --lr.")
    return min(final, key=lambda t: t.loss)  # the default is the first of them


def default_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the default's trial of the final stage; None if it diverged."""
    defaults = [t for t in trials if t.stage == "default" and t.folds]
    if not defaults:
        return None
    params = min(defaults, key=lambda t: t.loss).params
    return next((t for t in trials if t.stage == "final" and t.folds and t.params == params), None)


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
    best, lines = best_trial(trials), []
    for name, parameter in space.items():
        if not isinstance(parameter, LogUniform) or name not in best.params:
            continue
        position = parameter.position(best.params[name])
        if not BORDER < position < 1 - BORDER:
            end = "lower" if position < 0.5 else "upper"
            lines.append(
                f"The best {words(name)} ({best.params[name]:g}) is at the {end} end of the range searched, "
                f"{parameter.low:g} to {parameter.high:g}: a better value may lie beyond it."
            )
    return lines


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return complete trials, those of the final stage first, then by their loss."""
    return sorted((t for t in trials if t.folds), key=lambda t: (t.stage != "final", t.loss))


def sentence(record: dict[str, Any]) -> str:
    """Return in words what the search improved."""
    best, default, gain = record["best"], record["default"], record["difference"]
    if default is None:
        return (
            f"The defaults diverged; the best has loss {best['loss']:.4f}, accuracy {best['accuracy']:.1%}."
        )
    if gain is None:
        return (
            f"Only the defaults were tried: loss {default['loss']:.4f}, accuracy {default['accuracy']:.1%}."
        )
    compared = (
        f"{100 * gain['accuracy']:+.1f} points (95% interval {100 * gain['low']:+.1f} to "
        f"{100 * gain['high']:+.1f}) on {gain['n']} images of {record['folds']} "
        f"fold{'s' if record['folds'] > 1 else ''}"
    )
    if record["best_is_default"]:
        return (
            f"No options were better than the defaults: loss {default['loss']:.4f}, accuracy "
            f"{default['accuracy']:.1%}. The best others: {compared}."
        )
    return (
        f"Loss {best['loss']:.4f} (defaults: {default['loss']:.4f}); accuracy {best['accuracy']:.1%} "
        f"(defaults: {default['accuracy']:.1%}), {compared}."
    )


def print_search(record: dict[str, Any], trials: Sequence[Trial], console: Console) -> None:
    """Print the best trials and what they improved.

    Parameters
    ----------
    record : dict
        ``run.choice["search"]``.
    trials : sequence of Trial
        From :func:`finetune.search.trials.read_trials`.
    console : rich.console.Console
    """
    from rich.table import Table

    console.print(
        f"\n[bold]search[/] of {', '.join(map(words, record['over']))}: {record['trials']} trials in "
        f"{record['seconds']:.1f} s, {record['pruned']} of them pruned"
    )
    names = list(dict.fromkeys(name for t in trials for name in t.params))
    table = Table("stage", *map(words, names), "loss", "accuracy", box=None, pad_edge=False)
    for trial in ranked(trials)[:MOST]:
        cells = [shown(trial.params.get(name, "default")) for name in names]
        table.add_row(trial.stage, *cells, f"{trial.loss:.4f}", f"{trial.accuracy:.1%}")
    console.print(table)
    console.print(sentence(record))


def shown(value: Any) -> str:
    """Return an option's value as it is printed."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(name: str) -> str:
    """Return an option's name as it is printed."""
    return name.replace("_", " ")


def _point(trial: Trial) -> dict[str, Any]:
    return {"params": trial.params, "loss": trial.loss, "accuracy": trial.accuracy}
