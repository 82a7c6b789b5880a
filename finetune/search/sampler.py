"""Which values are tried next: evenly over wide ranges first, then where good trials fell.

Everything here is a function of the seed and of the trials so far, so that a search that was stopped goes on
as if it had not been. The draws are Halton's points, shifted at random: they fill a box more evenly than
independent ones, and every trial shows a new value of each number (Bergstra and Bengio 2012, "Random search
for hyper-parameter optimization").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.search.space import OneOf, Real, Space, place
from finetune.search.trials import Trial

__all__ = ["Region", "draw", "narrowed", "points", "whole"]

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
