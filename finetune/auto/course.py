"""What every step of the race shares: the images, the time, and what came of each candidate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.auto.budget import Budget, duration
from finetune.auto.candidates import Candidate
from finetune.auto.outcome import Outcome, Results, Skipped
from finetune.auto.standing import Standing
from finetune.training.speed import network_speed

if TYPE_CHECKING:
    from finetune.experiment import Experiment
    from finetune.method import Fitted, Task
    from zoo.backbone import Backbone

__all__ = ["Course", "gmacs"]

#: With so few wrong predictions, nothing could be told to be better (:mod:`finetune.training.choice`).
FEW_MISTAKES = 5

#: With more training images than this, a classifier's time is measured on some of them first; it grows with
#: their number to this power: kernel matrices are decomposed, neighbours compared by pairs.
MANY, SOME = 3_000, 1_000
GROWTH = {"kernel": 3.0, "knn": 2.0, "raw-knn": 2.0}


class Course:
    """The state of a race.

    Parameters
    ----------
    experiment : Experiment
        With the features of all stages of its first network.
    budget : Budget
    results : Results
        Where outcomes are kept, and found again.

    Attributes
    ----------
    experiment, budget, results
        As given.
    view, tta : str
        Of the request, which all networks share.
    standing : Standing
    outcomes : list of Outcome
        In the order in which they were tried.
    skipped : list of Skipped
    stopped : bool
        Whether it was stopped from the keyboard.
    reserved : float
        Seconds that the best so far still needs at the end.
    """

    def __init__(self, experiment: Experiment, budget: Budget, results: Results) -> None:
        self.experiment, self.budget, self.results = experiment, budget, results
        self.view, self.tta = experiment.request.view, experiment.request.tta
        split, dataset = experiment.split, experiment.dataset
        groups = None if dataset.groups is None else dataset.groups[split.train]
        self.standing = Standing(dataset.labels[split.train], groups)
        self.outcomes: list[Outcome] = []
        self.skipped: list[Skipped] = []
        self.stopped = False
        self.reserved = 0.0
        self._experiments = {(experiment.backbone.name, self.view, self.tta): experiment}
        self._fitted: dict[str, Fitted] = {}

    @property
    def n(self) -> int:
        """Number of training images."""
        return len(self.standing.labels)

    @property
    def left(self) -> float:
        """Seconds that candidates may still use."""
        return self.budget.left - self.reserved

    @property
    def best(self) -> Outcome:
        """The chosen candidate so far."""
        return self.standing.best(self.outcomes)

    def best_classifier(self) -> Candidate:
        """Return the best so far that trains no network, on the features of the first one."""
        own = [o for o in self.outcomes if o.candidate.network and self.of(o.candidate) is self.experiment]
        return self.standing.best([o for o in own if not o.candidate.method().trains_network]).candidate

    def of(self, candidate: Candidate) -> Experiment:
        """Return the experiment with a candidate's features."""
        if candidate.network is None:
            return self.experiment
        return self._experiments[candidate.network, candidate.view, candidate.tta]

    def has(self, network: str | None) -> bool:
        """Whether a network's features are there, of images as they are requested."""
        return (network, self.view, self.tta) in self._experiments

    def backbone(self, candidate: Candidate) -> Backbone | None:
        """Return a candidate's network; None for a reference on pixels."""
        if candidate.network is None:
            return None
        return next(b for b in self.of(candidate).backbones if b.name == candidate.network)

    def task(self, candidate: Candidate, **settings: Any) -> Task:
        """Return what a candidate learns from."""
        return self.of(candidate).task(candidate.method(), self.backbone(candidate), **settings)

    def fit(self, candidate: Candidate) -> Fitted:
        """Return a classifier fitted to all training images; it is fitted once."""
        if candidate.key not in self._fitted:
            found = candidate.method().fit(self.task(candidate), self.backbone(candidate))
            self._fitted[candidate.key] = found
        return self._fitted[candidate.key]

    def try_classifier(self, candidate: Candidate, always: bool = False) -> Outcome | None:
        """Cross-validate a classifier on features or pixels, unless that was done before.

        Returns
        -------
        Outcome or None
            None where there is no time for it.
        """
        if found := self.results.find(candidate):
            self.outcomes.append(found)
            return found
        if not always and not self.fits(candidate.name, self._classifier_seconds(candidate)):
            return None
        self.announce(candidate.name)
        start = time.perf_counter()
        fitted: Any = self.fit(candidate)
        seconds = time.perf_counter() - start
        operations = sum(array.size for array in fitted.head.arrays().values()) / 1e9
        milliseconds = 1000 * (self.network_seconds(candidate) + self._head_seconds(candidate, fitted))
        rows = np.arange(self.n)
        cost = self.cost(candidate) + operations
        return self.keep(Outcome(candidate, rows, fitted.out_of_fold, cost, seconds, milliseconds))

    def extract(self, candidate: Candidate, backbone: Backbone) -> bool:
        """Compute features for a candidate; False where that turns out to take too long."""
        start = time.perf_counter()
        known = self.results.find(candidate) is not None

        def goes_on(share: float) -> bool:
            rest = (time.perf_counter() - start) * (1 / share - 1)
            return known or self.fits(candidate.name, rest)

        view, tta = candidate.view, candidate.tta
        made = self.experiment.with_network(backbone, "stages", view, tta, goes_on)
        if made is not None:
            self._experiments[backbone.name, view, tta] = made
        return made is not None

    def hopeless(self, name: str) -> bool:
        """Whether nothing could be told to be better than the best; it is recorded as skipped then."""
        best = self.best
        mistakes = int((~best.correct(self.standing.labels)).sum())
        if mistakes > FEW_MISTAKES:
            return False
        self.skip(
            name,
            f"{best.candidate.name} is wrong on {mistakes} of {len(best.rows):,} training images: nothing"
            " could be told to be better",
        )
        return True

    def fits(self, name: str, seconds: float) -> bool:
        """Whether there is time for something; if not, it is recorded as skipped."""
        left = self.left
        if left > 0 and seconds <= left:
            return True
        rest = f"{duration(left)} are left" if left >= 1 else "no time is left"
        self.skip(name, f"would take about {duration(seconds)}, {rest}" if seconds else rest)
        return False

    def skip(self, name: str, reason: str) -> None:
        """Record what is not tried, and why."""
        self.skipped.append(Skipped(name, reason))
        self.experiment.log(f"[{self.budget}] not tried: {name} ({reason})")

    def keep(self, outcome: Outcome) -> Outcome:
        """Record what came of a candidate, here and on disk."""
        self.outcomes.append(outcome)
        self.results.store(outcome)
        self.results.note_time(self.budget.spent)
        return outcome

    def announce(self, what: str, seconds: float = 0.0) -> None:
        """Log what is tried now, the best so far and the time."""
        about = f" (about {duration(seconds)})" if seconds >= 1 else ""
        best = "nothing yet"
        if self.outcomes:
            leader = self.best
            best = f"{leader.candidate.name} {leader.correct(self.standing.labels).mean():.1%}"
        self.experiment.log(f"[{self.budget}] trying {what}{about}; best so far: {best}")

    def cost(self, candidate: Candidate) -> float:
        """Thousand million multiply-adds of the network for an image, and for its mirror image."""
        backbone = self.backbone(candidate)
        return 0.0 if backbone is None else gmacs(backbone) * (2 if candidate.tta == "mirror" else 1)

    def network_seconds(self, candidate: Candidate) -> float:
        """Seconds from an image's file to its features."""
        if candidate.network is None:
            return 0.0
        experiment = self.of(candidate)
        space = next(s for s in experiment.spaces if s.backbone.name == candidate.network)
        paths = [experiment.dataset.paths[i] for i in experiment.split.train]
        return network_speed(space, paths) * (2 if candidate.tta == "mirror" else 1)

    def _head_seconds(self, candidate: Candidate, fitted: Fitted) -> float:
        some = self.task(candidate).train.subset(np.arange(min(200, self.n)))
        start = time.perf_counter()
        fitted.decision_function(some)
        return (time.perf_counter() - start) / len(some)

    def _classifier_seconds(self, candidate: Candidate) -> float:
        """About how long a classifier takes: with many images, from how long it takes with some of them."""
        if self.n <= MANY:
            return 0.0
        rng = np.random.default_rng([self.experiment.request.seed, 7])
        some = self.task(candidate).within(np.sort(rng.permutation(self.n)[:SOME]), 5)
        start = time.perf_counter()
        candidate.method().fit(some, self.backbone(candidate))
        seconds = time.perf_counter() - start
        return float(seconds * (self.n / SOME) ** GROWTH.get(candidate.strategy, 1.1))


def gmacs(backbone: Backbone) -> float:
    """Thousand million multiply-adds an image; where the registry has none, guessed from the parameters.

    CNNs for ImageNet have some 150 million for each million parameters (ResNet-50: 4.1 and 25.6).
    """
    if backbone.entry.gmacs is not None:
        return backbone.entry.gmacs
    size = (backbone.folder / "model.safetensors").stat().st_size
    return 0.15 * size / 4e6
