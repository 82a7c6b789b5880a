"""Which values are tried next: optuna's TPE draws them, from ranges that grow where the best is at a border.

TPE learns where good trials fell and where bad ones did (Bergstra et al. 2011, "Algorithms for
hyper-parameter optimization"): draws go from all over the ranges to where good ones fell. Everything here is
a function of the seed and of the trials so far, so that a search that was stopped goes on as if it had not
been.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from finetune.search.space import OneOf, Real, Space, place
from finetune.search.trials import Trial

__all__ = ["Ranges", "draw", "ranges"]

#: Decimal logarithms, by the parameters that are numbers.
Ranges = dict[str, tuple[float, float]]

#: A best value within this share of the tried range from its end is at its border.
BORDER = 0.05

#: How far a range is widened there: a share of the first range.
WIDER = 0.5

#: With fewer trials there is no telling what the best is.
FEWEST = 5

#: So many trials are drawn evenly before TPE learns from them, optuna's own number.
STARTUP = 10

#: Stands for a loss that was lost, for TPE takes no infinity.
LOST = 1e6


def ranges(
    space: Space, trials: Sequence[Trial], everything: Sequence[Trial] = ()
) -> tuple[Ranges, list[str]]:
    """Return where values are drawn, and what there is to say of it.

    Parameters
    ----------
    space : Space
    trials : sequence of Trial
        Of one stage, for only these can be compared.
    everything : sequence of Trial, optional
        All trials, to tell what was tried; a range never leaves out what was.

    Returns
    -------
    Ranges
        Wider than the space's on a side on which the best is at the border of what was tried.
    list of str
        Which were widened and why.
    """
    found: Ranges = {}
    notes: list[str] = []
    for name, parameter in space.items():
        if isinstance(parameter, OneOf):
            continue
        tried = [place(t.values[name]) for t in everything if name in t.values]
        low, high = place(parameter.low), place(parameter.high)
        found[name] = min([low, *tried]), max([high, *tried])
        usable = [t for t in trials if name in t.values and not math.isinf(t.loss)]
        if len(usable) >= FEWEST:
            best = place(min(usable, key=lambda t: t.loss).values[name])
            found[name] = _widened(name, parameter, found[name], tried, best, notes)
    return found, notes


def _widened(
    name: str, parameter: Real, reach: tuple[float, float], tried: list[float], best: float, notes: list[str]
) -> tuple[float, float]:
    """A range, wider on the side on which the best is at the border."""
    first = place(parameter.high) - place(parameter.low)
    lowest, highest = min(tried), max(tried)
    border = BORDER * (highest - lowest)
    low, high = reach
    if best >= highest - border:
        high = max(high, min(highest + WIDER * first, place(parameter.most)))
    if best <= lowest + border:
        low = min(low, max(lowest - WIDER * first, place(parameter.least)))
    for end, was, side in ((high, reach[1], "largest"), (low, reach[0], "smallest")):
        if abs(end - was) > 0.01:
            notes.append(
                f"The best {name.replace('_', ' ')} ({parameter.value(best):g}) is among the {side} "
                f"tried: the range now reaches {parameter.value(end):g}."
            )
    return low, high


def draw(
    space: Space, within: Ranges, trials: Sequence[Trial], seed: int, index: int, startup: int = STARTUP
) -> dict[str, Any]:
    """Return the values that TPE draws.

    Parameters
    ----------
    space : Space
    within : Ranges
        Of its numbers.
    trials : sequence of Trial
        What to learn from.
    seed, index : int
        The draw is a function of these and of the trials.
    startup : int, optional
        With fewer trials it is drawn evenly.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    allowed = {name: _distribution(parameter, within.get(name)) for name, parameter in space.items()}
    state = int(np.random.default_rng([seed, 6, index]).integers(2**31))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=state, n_startup_trials=startup))
    for t in trials:
        if all(name in t.values for name in space):
            params = {name: t.values[name] for name in space}
            value = min(t.loss, LOST)
            study.add_trial(optuna.trial.create_trial(params=params, distributions=allowed, value=value))
    drawn = study.ask(allowed).params
    return {
        name: parameter.value(place(drawn[name])) if isinstance(parameter, Real) else drawn[name]
        for name, parameter in space.items()
    }


def _distribution(parameter: Real | OneOf, within: tuple[float, float] | None) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, OneOf) or within is None:
        return CategoricalDistribution(parameter.values if isinstance(parameter, OneOf) else ())
    low, high = (parameter.value(end) for end in within)
    if parameter.whole:
        return IntDistribution(int(low), int(high), log=True)
    return FloatDistribution(low, high, log=True)
