"""``search.html``: each option's values against the loss, and all options side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.report.charts import Axis, Mark, ParallelLine, Point, Series, chart, parallel_chart
from finetune.report.pages import render
from finetune.search.tables import sentence, shown, words
from finetune.search.trials import Trial
from finetune.space import OneOf, Space

__all__ = ["page"]

TEMPLATES = Path(__file__).parent / "templates"

#: The kinds of trials: their name in the legend, and their marker.
MARKS: dict[str, tuple[str, Mark]] = {
    "pruned": ("pruned", "hollow"),
    "default": ("defaults", "ring"),
    "search": ("complete", "dot"),
    "final": ("cross-validated", "diamond"),
}

#: How many trials the table has.
MOST = 20

#: A loss above so many times the best is drawn at the end of the axis.
FAR = 20


def page(
    trials: Sequence[Trial],
    space: Space,
    record: dict[str, Any],
    n_train: int,
    warnings: Sequence[str] = (),
) -> str:
    """Return the page, which needs no other file and no script.

    Parameters
    ----------
    trials : sequence of Trial
    space : Space
        What was searched.
    record : dict
        What ``run.json`` holds of the search.
    n_train : int
        Number of training images.
    warnings : sequence of str, optional
        What to know before trusting the result.
    """
    drawn = [t for t in trials if t.folds or t.curve]
    names = [name for name in space if any(name in t.params for t in drawn)]
    whole = [t for t in drawn if all(name in t.params for name in names)]
    values = {
        "record": record,
        "over": ", ".join(map(words, record["over"])),
        "sentence": sentence(record),
        "n_train": n_train,
        "charts": [(words(name), _chart(name, space, drawn)) for name in names],
        "parallel": _parallel(names, space, whole) if len(names) > 1 and whole else "",
        "best": sorted((t for t in trials if t.folds), key=lambda t: (t.stage != "final", t.loss))[:MOST],
        "names": names,
        "shown": shown,
        "words": words,
        "warnings": warnings,
    }
    return render("search.html.j2", values, TEMPLATES)


def _chart(name: str, space: Space, trials: Sequence[Trial]) -> str:
    """Draw one option's values against the loss."""
    series = []
    for kind, (label, mark) in MARKS.items():
        points = [
            Point(_value(t, name), _loss(t), title=_title(t), mark=mark)
            for t in trials
            if name in t.params and _kind(t) == kind
        ]
        if points:
            series.append(Series(points, label, joined=False))
    title = f"Loss over {words(name)}, a point for each trial"
    return chart(series, _axis(name, space), _loss_axis(trials), title)


def _parallel(names: Sequence[str], space: Space, trials: Sequence[Trial]) -> str:
    """Draw a line for each trial, from its values to its loss; the better, the darker."""
    order = sorted(trials, key=lambda t: -_loss(t))
    lines = [
        ParallelLine(
            [*(_value(t, name) for name in names), _loss(t)],
            0.1 + 0.8 * i / max(1, len(order) - 1),
            _title(t),
        )
        for i, t in enumerate(order)
    ]
    axes = [*(_axis(name, space) for name in names), _loss_axis(trials)]
    return parallel_chart(axes, lines, "The values and the loss of each trial")


def _axis(name: str, space: Space) -> Axis:
    parameter = space[name]
    if isinstance(parameter, OneOf):
        return Axis(words(name), categories=tuple(map(shown, parameter.values)))
    return Axis(words(name), log=True)


def _loss_axis(trials: Sequence[Trial]) -> Axis:
    losses = [max(_loss(t), 1e-6) for t in trials]
    return Axis("loss", log=True, low=min(losses), high=min(max(losses), FAR * min(losses)))


def _loss(trial: Trial) -> float:
    """Return the loss of a trial, or where it was pruned that after its last epoch."""
    return max(trial.loss if trial.folds else trial.curve[-1], 1e-6)


def _value(trial: Trial, name: str) -> Any:
    value = trial.params[name]
    return value if isinstance(value, int | float) else shown(value)


def _kind(trial: Trial) -> str:
    return trial.stage if trial.folds else "pruned"


def _title(trial: Trial) -> str:
    values = ", ".join(f"{words(name)} {shown(value)}" for name, value in trial.params.items())
    state = "" if trial.folds else f", {trial.state} after {len(trial.curve)} epochs"
    return f"{values or 'defaults'}: loss {_loss(trial):.4g}{state}"
