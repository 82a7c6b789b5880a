"""``search.html``: each parameter's values against the score, and all parameters side by side."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.report.charts import Tick
from finetune.report.html import TEMPLATES as REPORT_TEMPLATES
from finetune.search.space import OneOf, Parameter, Space, place
from finetune.search.tables import best_of, shown, words
from finetune.search.trials import Trial

__all__ = ["page"]

TEMPLATES = Path(__file__).parent / "templates"

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 260, 64, 20, 14, 46


@dataclass(frozen=True)
class Mark:
    """A trial in a picture; `lines` has its places on the axes side by side."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True)
class Picture:
    """One parameter against the score."""

    name: str
    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class Axis:
    """One of the axes side by side."""

    name: str
    x: float
    ticks: list[Tick]


@dataclass(frozen=True)
class Line:
    """A trial across all axes: its points as SVG wants them, and how dark it is drawn."""

    points: str
    opacity: float
    kind: str
    title: str


def page(trials: Sequence[Trial], space: Space, record: dict[str, Any], n_train: int) -> str:
    """Return the page, which needs no other file and no script.

    Parameters
    ----------
    trials : sequence of Trial
    space : Space
        What was searched.
    record : dict
        What ``run.json`` says of the search.
    n_train : int
        Images of the training part.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["shown"] = shown
    drawn = [t for t in trials if t.score is not None and t.values]
    names = [name for name in space if any(name in t.values for t in drawn)]
    loss = _loss_axis(drawn)
    scales = {
        name: _scale(space[name], [t.values[name] for t in drawn if name in t.values]) for name in names
    }
    return templates.get_template("search.html.j2").render(
        record=record,
        words=words(record),
        n_train=n_train,
        pictures=[_picture(name, drawn, scales[name], loss) for name in names],
        axes=_axes(names, scales, loss),
        lines=_lines(names, drawn, scales, loss),
        best=best_of(list(trials))[:20],
        columns=names,
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    )


@dataclass(frozen=True)
class _Scale:
    """From a value to a share of an axis, with the values to label."""

    share: Callable[[Any], float]
    labels: list[tuple[float, str]]


def _scale(parameter: Parameter, values: list[Any]) -> _Scale:
    if isinstance(parameter, OneOf):
        among = parameter.values
        shares = {value: (i + 0.5) / len(among) for i, value in enumerate(among)}
        return _Scale(lambda value: shares[value], [(shares[v], shown(v)) for v in among])
    return _logarithmic(values)


def _logarithmic(values: list[float]) -> _Scale:
    low, high = place(min(values)), place(max(values))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    step = max(1, math.ceil((high - low) / 6))
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, step)
    at = [10.0**e for e in decades]
    if len(at) < 2:  # less than a decade: its ends say more than one power of ten
        at = [float(f"{10**low:.2g}"), float(f"{10 ** ((low + high) / 2):.2g}"), float(f"{10**high:.2g}")]

    def share(value: float) -> float:
        return min(max((place(value) - low) / (high - low), 0.0), 1.0)

    return _Scale(share, [(share(v), f"{v:g}") for v in at])


def _loss_axis(trials: list[Trial]) -> _Scale:
    """Of losses; those of stopped trials that are far off are drawn at its end."""
    losses = sorted(t.loss for t in trials) or [1.0]
    best = max(losses[0], 1e-6)
    return _logarithmic([best, min(max(losses[-1], 1.01 * best), 20 * best)])


def _picture(name: str, trials: list[Trial], scale: _Scale, loss: _Scale) -> Picture:
    across, up = _places(LEFT, WIDTH - RIGHT), _places(HEIGHT - BOTTOM, TOP)
    marks = [
        Mark(across(scale.share(t.values[name])), up(loss.share(t.loss)), _kind(t), _title(t))
        for t in trials
        if name in t.values
    ]
    return Picture(
        name.replace("_", " "),
        marks,
        [Tick(across(s), label) for s, label in scale.labels],
        [Tick(up(s), label) for s, label in loss.labels],
    )


def _axes(names: list[str], scales: dict[str, _Scale], loss: _Scale) -> list[Axis]:
    up = _places(HEIGHT - BOTTOM, TOP)
    every = [*((name, scales[name]) for name in names), ("loss", loss)]
    across = _places(LEFT, WIDTH - RIGHT - 30)
    return [
        Axis(
            name.replace("_", " "),
            across(i / max(1, len(every) - 1)),
            [Tick(up(s), v) for s, v in scale.labels],
        )
        for i, (name, scale) in enumerate(every)
    ]


def _lines(names: list[str], trials: list[Trial], scales: dict[str, _Scale], loss: _Scale) -> list[Line]:
    up, across = _places(HEIGHT - BOTTOM, TOP), _places(LEFT, WIDTH - RIGHT - 30)
    lines = []
    for trial in sorted(trials, key=lambda t: -t.loss):  # the best are drawn last, above the others
        if all(name in trial.values for name in names):
            shares = [*(scales[name].share(trial.values[name]) for name in names), loss.share(trial.loss)]
            points = " ".join(f"{across(i / len(names))},{up(s)}" for i, s in enumerate(shares))
            lines.append(Line(points, round(0.9 - 0.8 * shares[-1], 2), _kind(trial), _title(trial)))
    return lines


def _places(first: float, last: float) -> Callable[[float], float]:
    return lambda share: round(first + share * (last - first), 1)


def _kind(trial: Trial) -> str:
    return "stopped" if trial.stopped else trial.stage


def _title(trial: Trial) -> str:
    values = ", ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in trial.values.items())
    return f"{values}: loss {trial.loss:.4g}" + (f" ({trial.stopped})" if trial.stopped else "")
