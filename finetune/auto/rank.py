"""Which network serves these images: successive halving by the real probe, on more and more training images.

Each network computes features of a few training images, and a probe is cross-validated on them. Those that
are clearly behind, and the worse half of the others, are left out before more images are computed (Jamieson
and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS). Scores
that rate features without a classifier (LogME and others) are often wrong, and a probe costs seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from finetune.auto.candidates import Candidate
from finetune.auto.course import gmacs
from finetune.auto.outcome import Outcome
from finetune.auto.standing import Standing
from finetune.errors import OptionError
from finetune.experiment import Request, prepare
from finetune.methods import make_method
from finetune.runs.plain import PlainModel
from zoo.backbone import load
from zoo.errors import WeightsError

if TYPE_CHECKING:
    from finetune.experiment import Experiment
    from zoo.backbone import Backbone
    from zoo.registry.registry import Registry

__all__ = ["RankedNetwork", "Ranking", "rank"]

#: Shares of the training images that are used one after the other.
SHARES = (0.25, 0.5, 1.0)

#: Training images of the first share, where there are so many.
FEWEST = 100


class RankedNetwork(PlainModel):
    """A network that was ranked.

    Attributes
    ----------
    name : str
    status : str
        ``best``; ``alike`` where its loss is within one standard error of the lowest on the same images; or
        ``behind``, where it was left out or ended.
    accuracy, ci95 : float, tuple of float
        Of a cross-validated probe on `n_images` training images.
    log_loss : float
        Of the same.
    n_images : int
        The most that were used for it.
    gmacs : float
        Thousand million multiply-adds an image.
    milliseconds : float
        For an image here, while features were computed; 0 where all were stored before.
    """

    name: str
    status: str
    accuracy: float
    ci95: tuple[float, float]
    log_loss: float
    n_images: int
    gmacs: float
    milliseconds: float


class Ranking(PlainModel):
    """Networks, the best first.

    Attributes
    ----------
    networks : list of RankedNetwork
    best : str
        Of those that cannot be told apart, the one with the fewest multiply-adds.
    unavailable : dict of str to str
        Networks that could not be had, and why.
    n_train : int
        Training images.
    seconds : float
    """

    networks: list[RankedNetwork]
    best: str
    unavailable: dict[str, str] = Field(default_factory=dict)
    n_train: int
    seconds: float


@dataclass(eq=False)
class _Entrant:
    backbone: Backbone
    outcome: Outcome | None = None
    computed: int = 0
    seconds: float = 0.0


def rank(
    request: Request,
    models: Sequence[str],
    *,
    registry: Registry | None = None,
    offline: bool = False,
    log: Callable[[str], None] | None = None,
) -> Ranking:
    """Rank networks by a probe on these images; held-out images are not looked at.

    Parameters
    ----------
    request : Request
        The images; its models are not used.
    models : sequence of str
        The networks; which images show one thing is found by the features of the first.
    registry : Registry, optional
        Where to look them up.
    offline : bool, optional
        Use only networks that are on this machine.
    log : callable, optional
        Given one line at a time of what is done.

    Raises
    ------
    OptionError
        If there are no networks.
    WeightsError
        If none of them can be had.
    """
    start, log = time.perf_counter(), log or (lambda line: None)
    entrants, unavailable = _entrants(models, registry, offline, log)
    first = entrants[0].backbone
    made = prepare(replace(request, models=(first.name,)), backbones=[first], log=log)
    standing, n = _standing(made), len(made.split.train)
    order = np.random.default_rng([request.seed, 8]).permutation(n)
    running = entrants
    for share in SHARES:
        rows = np.sort(order[: max(min(FEWEST, n), round(share * n))])
        if share < 1 and len(rows) == n:
            continue
        for entrant in running:
            _probe(made, entrant, rows)
        running = _better_half(standing, running, share)
        names = ", ".join(entrant.backbone.name for entrant in running)
        log(f"After {len(rows):,} training images: {names}")
    best = standing.best([_done(entrant) for entrant in running]).candidate.network
    ranked = sorted(entrants, key=lambda e: (e not in running, -len(_done(e).rows), _loss(standing, e)))
    ranked.sort(key=lambda e: e.backbone.name != best)
    return Ranking(
        networks=[_row(standing, entrant, running, best) for entrant in ranked],
        best=best or "",
        unavailable=unavailable,
        n_train=n,
        seconds=round(time.perf_counter() - start, 2),
    )


def _entrants(
    models: Sequence[str], registry: Registry | None, offline: bool, log: Callable[[str], None]
) -> tuple[list[_Entrant], dict[str, str]]:
    entrants, faults = [], []
    unavailable = {}
    for name in dict.fromkeys(models):
        try:
            entrants.append(_Entrant(load(name, registry=registry, offline=offline)))
        except WeightsError as error:
            log(f"Left out {name}: {error.problem}")
            unavailable[name] = error.problem
            faults.append(error)
    if faults and not entrants:
        raise faults[0]
    if not entrants:
        raise OptionError("There is no network to rank.", "Name some with --models, or add --allow-download.")
    return entrants, unavailable


def _standing(experiment: Experiment) -> Standing:
    rows, dataset = experiment.split.train, experiment.dataset
    return Standing(dataset.labels[rows], None if dataset.groups is None else dataset.groups[rows])


def _probe(experiment: Experiment, entrant: _Entrant, rows: NDArray[np.int64]) -> None:
    """Cross-validate a probe on a network's features of some training images."""
    from zoo.features.fill import compute
    from zoo.features.spaces import BackboneSpace

    request, method = experiment.request, make_method("probe")
    space = BackboneSpace(entrant.backbone, request.engine, request.precision, experiment.log, "stages")
    places = experiment.split.train[rows]
    found = compute([experiment.dataset.paths[i] for i in places], [space])
    if found.skipped:
        raise next(iter(found.skipped.values()))
    entrant.computed += found.computed
    entrant.seconds += found.seconds if found.computed else 0.0
    whole = experiment.task(make_method("knn"))
    some = whole.within(rows, request.n_folds)
    train = replace(some.train, X=found.matrices[0], n_last=entrant.backbone.num_features)
    start = time.perf_counter()
    fitted = method.fit(replace(some, train=train), entrant.backbone)
    assert fitted.out_of_fold is not None
    candidate = Candidate("probe", entrant.backbone.name)
    cost, seconds = gmacs(entrant.backbone), time.perf_counter() - start
    entrant.outcome = Outcome(candidate, rows, fitted.out_of_fold, cost, seconds, 0.0)


def _better_half(standing: Standing, running: Sequence[_Entrant], share: float) -> list[_Entrant]:
    """Those that go on: none that is clearly behind, and before the last share the better half."""
    ordered = sorted(running, key=lambda entrant: _loss(standing, entrant))
    leader = _done(ordered[0])
    kept = [e for e in ordered if not standing.gain(_done(e), leader).clearly_beaten]
    return kept if share == SHARES[-1] else kept[: max(1, -(-len(running) // 2))]


def _loss(standing: Standing, entrant: _Entrant) -> float:
    return float(_done(entrant).losses(standing.labels).mean())


def _done(entrant: _Entrant) -> Outcome:
    assert entrant.outcome is not None
    return entrant.outcome


def _row(standing: Standing, entrant: _Entrant, running: Sequence[_Entrant], best: Any) -> RankedNetwork:
    outcome = _done(entrant)
    found = outcome.accuracy(standing.labels, standing.groups)
    lowest = min((_done(e) for e in running), key=lambda o: float(o.losses(standing.labels).mean()))
    status = "behind"
    if entrant.backbone.name == best:
        status = "best"
    elif entrant in running and not standing.gain(lowest, outcome).real:
        status = "alike"
    return RankedNetwork(
        name=entrant.backbone.name,
        status=status,
        accuracy=found.accuracy,
        ci95=found.ci95,
        log_loss=float(outcome.losses(standing.labels).mean()),
        n_images=len(outcome.rows),
        gmacs=gmacs(entrant.backbone),
        milliseconds=round(1000 * entrant.seconds / entrant.computed, 2) if entrant.computed else 0.0,
    )
