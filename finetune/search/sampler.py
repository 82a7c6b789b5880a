"""Which values are tried next: evenly over wide ranges first, then where good trials fell.

Everything here is a function of the seed and of the trials so far, so that a search that was stopped goes on
as if it had not been. The first draws are Halton's points, shifted at random: they fill a box more evenly
than independent ones, and every trial shows a new value of each number (Bergstra and Bengio 2012, "Random
search for hyper-parameter optimization"). Then optuna's TPE draws, which learns where good trials fell and
where bad ones did (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization");
benchmarks/search.py compares.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.search.space import OneOf, Parameter, Real, Space, place
from finetune.search.trials import Trial

__all__ = ["Region", "draw", "learned", "narrowed", "points", "whole"]

#: So many trials there must be before there is something to learn from.
STARTUP = 8

#: Stands for a loss that was lost, for TPE takes no infinity.
LOST = 1e6

#: Share of the trials that say where good values are, and the fewest of them.
GOOD, FEWEST = 0.25, 4

#: A best value within this share of the tried range from its end is at its border.
BORDER = 0.05

#: How far a range is widened there: a share of the first range.
WIDER = 0.5

#: Room around the good trials, as a share of their own range, and the least as a share of the first one.
ROOM, LEAST_ROOM = 0.25, 0.05

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)


@dataclass(frozen=True)
class Region:
    """Where values are drawn.

    Attributes
    ----------
    ranges : dict of str to (float, float)
        Decimal logarithms, by the parameters that are numbers.
    values : dict of str to tuple
        By those that are not.
    notes : list of str
        Which range was widened and why.
    """

    ranges: dict[str, tuple[float, float]]
    values: dict[str, tuple[Any, ...]]
    notes: list[str] = field(default_factory=list)


def whole(space: Space) -> Region:
    """Return the region that a search begins with."""
    return Region(
        {name: (place(p.low), place(p.high)) for name, p in space.items() if isinstance(p, Real)},
        {name: p.values for name, p in space.items() if isinstance(p, OneOf)},
    )


def narrowed(space: Space, trials: Sequence[Trial], everything: Sequence[Trial]) -> Region:
    """Return the region where good trials fell, wider on the side on which the best is at the border.

    Parameters
    ----------
    space : Space
    trials : sequence of Trial
        Of one stage, for only these can be compared.
    everything : sequence of Trial
        All trials, to tell what was tried.
    """
    ranked = sorted((t for t in trials if not math.isinf(t.loss)), key=lambda t: t.loss)
    good = ranked[: max(FEWEST, math.ceil(GOOD * len(ranked)))]
    region = whole(space)
    for name, parameter in space.items():
        held = [t.values[name] for t in good if name in t.values]
        if not held:
            continue
        if isinstance(parameter, OneOf):
            region.values[name] = tuple(v for v in parameter.values if v in held)
            continue
        places = [place(v) for v in held]
        tried = [place(t.values[name]) for t in everything if name in t.values]
        region.ranges[name] = _range(name, parameter, places, tried, region.notes)
    return region


def _range(
    name: str, parameter: Real, places: list[float], tried: list[float], notes: list[str]
) -> tuple[float, float]:
    """A range around good places, the first of which is the best."""
    first = place(parameter.high) - place(parameter.low)
    room = max(ROOM * (max(places) - min(places)), LEAST_ROOM * first)
    low, high = min(places) - room, max(places) + room
    lowest, highest = min(tried), max(tried)
    border = BORDER * (highest - lowest)
    if places[0] >= highest - border:
        high = highest + WIDER * first
    if places[0] <= lowest + border:
        low = lowest - WIDER * first
    low, high = max(low, place(parameter.least)), min(high, place(parameter.most))
    for end, was, side in ((high, highest, "largest"), (low, lowest, "smallest")):
        at_end = places[0] >= highest - border if side == "largest" else places[0] <= lowest + border
        if at_end and abs(end - was) > 0.01:
            notes.append(
                f"The best {name.replace('_', ' ')} ({parameter.value(places[0]):g}) is among the {side} "
                f"tried: the range now reaches {parameter.value(end):g}."
            )
    return low, high


def draw(space: Space, region: Region, point: NDArray[np.float64]) -> dict[str, Any]:
    """Return the values at a point of the unit cube.

    Parameters
    ----------
    space : Space
    region : Region
        Of it.
    point : (d,) array
        One coordinate a parameter, in their order.
    """
    values: dict[str, Any] = {}
    for (name, parameter), share in zip(space.items(), point.tolist(), strict=True):
        if isinstance(parameter, OneOf):
            among = region.values[name]
            values[name] = among[min(int(share * len(among)), len(among) - 1)]
        else:
            low, high = region.ranges[name]
            values[name] = parameter.value(low + share * (high - low))
    return values


def learned(
    space: Space, region: Region, trials: Sequence[Trial], seed: int, index: int
) -> dict[str, Any] | None:
    """Return the values that optuna's TPE draws.

    Parameters
    ----------
    space : Space
    region : Region
        Where to draw.
    trials : sequence of Trial
        What to learn from; only those within the region count.
    seed, index : int
        The draw is a function of these and of the trials.

    Returns
    -------
    dict or None
        None while there are fewer than `STARTUP` trials in the region.
    """
    import optuna

    allowed = {name: _distribution(parameter, region, name) for name, parameter in space.items()}
    inside = [
        t
        for t in trials
        if all(n in t.values and _holds(p, allowed[n], t.values[n]) for n, p in space.items())
    ]
    if len(inside) < STARTUP:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    state = int(np.random.default_rng([seed, 6, index]).integers(2**31))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=state, n_startup_trials=0))
    for t in inside:
        params = {name: t.values[name] for name in space}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=allowed, value=min(t.loss, LOST))
        )
    drawn = study.ask(allowed).params
    return {name: _rounded(parameter, drawn[name]) for name, parameter in space.items()}


def _distribution(parameter: Parameter, region: Region, name: str) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, OneOf):
        return CategoricalDistribution(region.values[name])
    low, high = (parameter.value(end) for end in region.ranges[name])
    if parameter.whole:
        return IntDistribution(int(low), int(high), log=True)
    return FloatDistribution(low, high, log=True)


def _holds(parameter: Parameter, distribution: Any, value: Any) -> bool:
    """Whether a value may be drawn."""
    if isinstance(parameter, OneOf):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)


def _rounded(parameter: Parameter, value: Any) -> Any:
    return parameter.value(place(value)) if isinstance(parameter, Real) else value


def points(seed: int, first: int, number: int, dimensions: int) -> NDArray[np.float64]:
    """Return some of the points of a Halton sequence, shifted by a random vector of the seed's.

    Parameters
    ----------
    seed : int
    first : int
        Place of the first in the sequence.
    number : int
        How many.
    dimensions : int
        At most 10.

    Returns
    -------
    (number, dimensions) array
        Within 0 and 1.
    """
    shift = np.random.default_rng([seed, 4]).random(dimensions)
    rows = [
        [_radical_inverse(i, base) for base in _PRIMES[:dimensions]] for i in range(first, first + number)
    ]
    return (np.array(rows).reshape(number, dimensions) + shift) % 1.0


def _radical_inverse(index: int, base: int) -> float:
    """An index's digits, mirrored at the point."""
    inverse, share = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        inverse += digit * share
        share /= base
    return inverse
