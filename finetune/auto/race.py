"""The race: candidates are tried on the same folds, the quick ones first, as long as there is time.

What would take longer than the time that is left is not begun, and what is clearly beaten is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finetune.auto.budget import Budget, duration
from finetune.auto.candidates import Candidate, on_features, references, trainings
from finetune.auto.outcome import Outcome, Results, Skipped
from finetune.auto.standing import Standing
from finetune.errors import TrainingError
from finetune.likeness import images_a_class, likeness, rule
from finetune.training.speed import TrainingSpeed, network_speed, remembered_speed, training_speed
from zoo.errors import WeightsError

if TYPE_CHECKING:
    from finetune.experiment import Experiment
    from finetune.method import Fitted, Task
    from finetune.training.chosen import Chosen
    from finetune.training.method import NetworkMethod
    from zoo.backbone import Backbone

__all__ = ["Race"]

#: With so few wrong predictions, nothing could be told to be better (:mod:`finetune.training.choice`).
FEW_MISTAKES = 5

#: Seconds that measuring the speed of a training takes at most, mostly for loading torch and the network.
MEASURING = 12.0

#: What a predicted time is multiplied by: other programs may slow this one down.
SAFETY = 1.15

#: With more training images than this, a classifier's time is measured on some of them first; it grows with
#: their number to this power: kernel matrices are decomposed, neighbours compared by pairs.
MANY, SOME = 3_000, 1_000
GROWTH = {"kernel": 3.0, "knn": 2.0, "raw-knn": 2.0}


class Race:
    """Candidates that are tried one after the other.

    Parameters
    ----------
    experiment : Experiment
        With the features of all stages of its first network.
    budget : Budget
    results : Results
        Where outcomes are kept, and found again.
    networks : sequence of (str, callable)
        Names of more networks, and what loads each.

    Attributes
    ----------
    experiment : Experiment
        As given.
    outcomes : list of Outcome
        In the order in which they were tried.
    skipped : list of Skipped
    stopped : bool
        Whether it was stopped from the keyboard.
    """

    def __init__(
        self,
        experiment: Experiment,
        budget: Budget,
        results: Results,
        networks: Sequence[tuple[str, Callable[[], Backbone]]] = (),
    ) -> None:
        self.experiment = experiment
        self.outcomes: list[Outcome] = []
        self.skipped: list[Skipped] = []
        self.stopped = False
        self._budget, self._results, self._networks = budget, results, networks
        split, dataset = experiment.split, experiment.dataset
        groups = None if dataset.groups is None else dataset.groups[split.train]
        self.standing = Standing(dataset.labels[split.train], groups)
        self._view, self._tta = experiment.request.view, experiment.request.tta
        self._experiments = {(experiment.backbone.name, self._view, self._tta): experiment}
        self._reserved = 0.0
        self._fitted: dict[str, Fitted] = {}
        self._chosen: dict[str, Chosen] = {}

    def run(self) -> None:
        """Try what there is time for; after Ctrl-C, what was tried so far counts."""
        try:
            self._classifiers()
            for step in self._steps():
                step()
        except KeyboardInterrupt:
            if not any(each.candidate.strategy == "probe" for each in self.outcomes):
                raise
            self.stopped = True
            self.experiment.log("Stopped: the best so far is evaluated and written. Ctrl-C again ends it.")

    def backbone(self, candidate: Candidate) -> Backbone | None:
        """Return a candidate's network; None for a reference on pixels."""
        if candidate.network is None:
            return None
        return next(b for b in self.of(candidate).backbones if b.name == candidate.network)

    @property
    def best(self) -> Outcome:
        """The chosen candidate so far."""
        return self.standing.best(self.outcomes)

    def fit(self, candidate: Candidate) -> Fitted:
        """Return a candidate fitted to all training images."""
        if candidate.key in self._fitted:
            return self._fitted[candidate.key]
        method: Any = candidate.method()
        if not method.resumable:
            return cast("Fitted", method.fit(self._task(candidate), self.backbone(candidate)))
        chosen = self._chosen.get(candidate.key) or self._choose(candidate)
        return chosen.fit()

    def _classifiers(self) -> None:
        """References, and every classifier on the features of the first network."""
        first = on_features(self.experiment.backbone.name, self._view, self._tta)
        probe, *others = sorted(first, key=lambda each: each.strategy != "probe")
        self._try(probe, always=True)
        for candidate in [*references(), *others]:
            self._try(candidate)

    def _steps(self) -> list[Callable[[], None]]:
        """What to try after the classifiers, the most promising first."""
        networks = [lambda n=name, load=load: self._network(n, load) for name, load in self._networks]
        views = [lambda: self._other_view("crop", "mirror"), lambda: self._other_view("whole", "none")]
        last_layers, full = (lambda s=name: self._training(s) for name in ("last-layers", "full"))
        more = [*views, *networks]
        return [last_layers, *more, full] if self._unlike_imagenet() else [*more, last_layers, full]

    def of(self, candidate: Candidate) -> Experiment:
        """Return the experiment with a candidate's features."""
        if candidate.network is None:
            return self.experiment
        return self._experiments[candidate.network, candidate.view, candidate.tta]

    def _unlike_imagenet(self) -> bool:
        """Whether the course's rule says to train more than a classifier."""
        experiment = self.experiment
        rows, y = experiment.split.train, self.standing.labels
        X, pixels = experiment.matrices[experiment.backbone.name], experiment.matrices["pixels"]
        amount = images_a_class(y, len(experiment.dataset.classes))
        return rule(amount, likeness(X[rows], pixels[rows], y))[0] != "probe"

    def _try(self, candidate: Candidate, always: bool = False) -> Outcome | None:
        """Cross-validate a classifier on features or pixels, unless that was done before."""
        if found := self._results.find(candidate):
            self.outcomes.append(found)
            return found
        if not always and not self._fits(candidate.name, self._classifier_seconds(candidate)):
            return None
        self._announce(candidate.name)
        start = time.perf_counter()
        fitted = candidate.method().fit(self._task(candidate), self.backbone(candidate))
        seconds = time.perf_counter() - start
        assert fitted.out_of_fold is not None
        self._fitted[candidate.key] = fitted
        head: Any = fitted
        cost = sum(array.size for array in head.head.arrays().values()) / 1e9
        cost += self._cost(candidate)
        outcome = Outcome(
            candidate,
            np.arange(len(self.standing.labels)),
            fitted.out_of_fold,
            cost,
            seconds,
            1000 * (self._network_seconds(candidate) + self._head_seconds(candidate, fitted)),
        )
        return self._keep(outcome)

    def _best_classifier(self) -> Candidate:
        """The best so far on the features of the first network."""
        first = self.experiment.backbone.name
        own = [o for o in self.outcomes if o.candidate.network == first and len(o.rows) == self._n]
        plain = [o for o in own if (o.candidate.view, o.candidate.tta) == (self._view, self._tta)]
        return self.standing.best([o for o in plain if not o.candidate.method().resumable]).candidate

    def _other_view(self, view: str, tta: str) -> None:
        """Try the best classifier on features of the whole image, or averaged over mirror images."""
        if (view, tta) == (self._view, self._tta) or (self._view, self._tta) != ("crop", "none"):
            return
        like, first = self._best_classifier(), self.experiment.backbone
        candidate = replace(like, view=view, tta=tta)
        if self._hopeless(candidate.name):
            return
        seconds = len(self.experiment.dataset) * self._network_seconds(like)
        if not self._results.find(candidate) and not self._fits(candidate.name, seconds):
            return
        self._announce(f"features for {candidate.name}", seconds)
        if self._extract(candidate, first):
            self._try(candidate)

    def _network(self, name: str, load: Callable[[], Backbone]) -> None:
        """Try the best classifier so far on another network; where it is not beaten, the others too."""
        like = self._best_classifier()
        candidate = replace(like, network=name)
        if self._hopeless(candidate.name):
            return
        try:
            backbone = load()
        except WeightsError as error:
            self._skip(name, f"{error.problem}")
            return
        first = self.experiment.backbone
        images = len(self.experiment.dataset)
        seconds = images * self._network_seconds(like) * _gmacs(backbone) / _gmacs(first)
        if not self._results.find(candidate) and not self._fits(name, seconds):
            return
        self._announce(f"features of {name}", seconds)
        found = self._try(candidate) if self._extract(candidate, backbone) else None
        if found is None:
            return
        gain = self.standing.gain(found, next(o for o in self.outcomes if o.candidate == like))
        if gain.clearly_beaten:
            self._skip(f"other classifiers, {name}", f"{candidate.name} is clearly behind {like.name}")
            return
        for other in on_features(name, self._view, self._tta):
            if other != candidate and other.strategy in ("probe", "kernel"):
                self._try(other)

    def _extract(self, candidate: Candidate, backbone: Backbone) -> bool:
        """Compute features for a candidate; False where that turns out to take too long."""
        start = time.perf_counter()

        def goes_on(share: float) -> bool:
            rest = (time.perf_counter() - start) * (1 / share - 1)
            return known or self._fits(candidate.name, rest)

        known = self._results.find(candidate) is not None
        view, tta = candidate.view, candidate.tta
        made = self.experiment.with_network(backbone, "stages", view, tta, goes_on)
        if made is not None:
            self._experiments[backbone.name, view, tta] = made
        return made is not None

    def _training(self, strategy: str) -> None:
        """Train the network itself where there is time for it, and where it can pay."""
        network = self._network_to_train()
        if self._hopeless(f"{strategy}, {network}"):
            return
        if self._tta != "none":
            self._skip(f"{strategy}, {network}", f"--tta {self._tta} averages features of a frozen network")
            return
        if strategy == "full" and any(
            o.candidate.strategy == "last-layers" and o.status == "dropped" for o in self.outcomes
        ):
            self._skip(f"{strategy}, {network}", "training the last layers alone is not better either")
            return
        usual = Candidate(strategy, network, view=self._view)
        settings = trainings(strategy, network, self._n, self._view)
        found = next((o for c in settings if (o := self._results.find(c))), None)
        if found:
            self.outcomes.append(found)
        method = cast("NetworkMethod[Any]", usual.method())
        backbone = self._network_of(usual)
        if remembered_speed(method, backbone) is None:
            if not self._fits(f"{usual.name}: to measure its speed", MEASURING):
                return
            self._announce(f"the speed of {usual.name}")
        speed = training_speed(method, self._task(usual), backbone, self._network_seconds(usual))
        if found:
            self._reserve(found, speed)
            return
        candidate, seconds = self._affordable(settings, speed)
        if candidate is None:
            self._fits(usual.name, seconds)
            return
        self._announce(candidate.name, seconds)
        try:
            self._train(candidate, speed)
        except TrainingError as error:
            self._skip(candidate.name, error.problem)

    def _train(self, candidate: Candidate, speed: TrainingSpeed) -> None:
        start = time.perf_counter()
        chosen = self._choose(candidate)
        options = chosen.bench.options
        after = speed.finishing(options, self._n, len(self.experiment.split.test))
        if SAFETY * (speed.cross_validating(options, self.experiment.folds) + after) < self._left:
            chosen.cross_validate()
        rows, scores = chosen.validation
        if chosen.out_of_fold is not None:
            rows, scores = np.arange(self._n), chosen.out_of_fold
        order = np.argsort(rows)
        outcome = Outcome(
            candidate,
            rows[order],
            scores[order],
            self._cost(candidate),
            time.perf_counter() - start,
            1000 * self._network_seconds(candidate),
        )
        gain = self.standing.gain(outcome, self.best)
        if not gain.real:
            reason = "not better than the best by more than one standard error"
            outcome = Outcome(
                **{**vars(outcome), "status": "dropped", "reason": f"{reason} on {len(rows):,} images"}
            )
        else:
            self._chosen = {candidate.key: chosen}
        self._keep(outcome)
        self._reserve(outcome, speed)

    def _reserve(self, outcome: Outcome, speed: TrainingSpeed) -> None:
        """Keep the time that a trained network needs at the end, if it is the best."""
        if self.best is outcome:
            options: Any = outcome.candidate.method().options
            n_held_out = len(self.experiment.split.test)
            self._reserved = SAFETY * speed.finishing(options.resolved(self._n), self._n, n_held_out)

    def _classifier_seconds(self, candidate: Candidate) -> float:
        """About how long a classifier takes: with many images, from how long it takes with some of them."""
        if self._n <= MANY:
            return 0.0
        rng = np.random.default_rng([self.experiment.request.seed, 7])
        some = self._task(candidate).within(np.sort(rng.permutation(self._n)[:SOME]), 5)
        start = time.perf_counter()
        candidate.method().fit(some, self.backbone(candidate))
        seconds = time.perf_counter() - start
        return seconds * (self._n / SOME) ** GROWTH.get(candidate.strategy, 1.1)

    @property
    def _left(self) -> float:
        """Seconds that candidates may still use."""
        return self._budget.left - self._reserved

    def _affordable(
        self, candidates: Sequence[Candidate], speed: TrainingSpeed
    ) -> tuple[Candidate | None, float]:
        """Return the most thorough settings that there is time for, and the seconds that they take."""
        seconds = 0.0
        for candidate in candidates:
            options: Any = candidate.method().options
            resolved = options.resolved(self._n)
            tries = len(options.learning_rates(self._n))
            seconds = speed.choosing(resolved, self.experiment.folds, self._n, tries)
            seconds += speed.finishing(resolved, self._n, len(self.experiment.split.test))
            if SAFETY * seconds <= self._left:
                return candidate, seconds
        return None, seconds

    def _choose(self, candidate: Candidate) -> Chosen:
        method = cast("NetworkMethod[Any]", candidate.method())
        task = self._task(candidate, checkpoints=self._results.checkpoints(candidate))
        return method.choose(task, self._network_of(candidate))

    def _hopeless(self, name: str) -> bool:
        """Whether nothing could be told to be better than the best."""
        best = self.best
        mistakes = int((~best.correct(self.standing.labels)).sum())
        if mistakes > FEW_MISTAKES:
            return False
        self._skip(
            name,
            f"{best.candidate.name} is wrong on {mistakes} of {len(best.rows):,} training images: nothing"
            " could be told to be better",
        )
        return True

    def _fits(self, name: str, seconds: float) -> bool:
        """Whether there is time for something; if not, it is recorded as skipped."""
        left = self._left
        if left > 0 and seconds <= left:
            return True
        rest = f"{duration(left)} are left" if left >= 1 else "no time is left"
        self._skip(name, f"would take about {duration(seconds)}, {rest}" if seconds else rest)
        return False

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.append(Skipped(name, reason))
        self.experiment.log(f"[{self._budget}] not tried: {name} ({reason})")

    def _keep(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        self._results.store(outcome)
        self._results.note_time(self._budget.spent)
        return outcome

    def _announce(self, what: str, seconds: float = 0.0) -> None:
        """Log what is tried now, the best so far and the time."""
        about = f" (about {duration(seconds)})" if seconds >= 1 else ""
        best = "nothing yet"
        if any(len(o.rows) == self._n for o in self.outcomes):
            leader = self.best
            best = f"{leader.candidate.name} {leader.correct(self.standing.labels).mean():.1%}"
        self.experiment.log(f"[{self._budget}] trying {what}{about}; best so far: {best}")

    @property
    def _n(self) -> int:
        return len(self.standing.labels)

    def _task(self, candidate: Candidate, **settings: Any) -> Task:
        return self.of(candidate).task(candidate.method(), self.backbone(candidate), **settings)

    def _network_to_train(self) -> str:
        """The network of the best classifier that sees images as the first one does."""
        best = self.best.candidate
        place = (best.network, self._view, self._tta)
        return best.network if best.network and place in self._experiments else self.experiment.backbone.name

    def _cost(self, candidate: Candidate) -> float:
        """Thousand million multiply-adds of the network for an image, and for its mirror image."""
        if candidate.network is None:
            return 0.0
        return _gmacs(self._network_of(candidate)) * (2 if candidate.tta == "mirror" else 1)

    def _network_of(self, candidate: Candidate) -> Backbone:
        found = self.backbone(candidate)
        assert found is not None
        return found

    def _network_seconds(self, candidate: Candidate) -> float:
        """Seconds from an image's file to its features."""
        if candidate.network is None:
            return 0.0
        experiment = self.of(candidate)
        space = next(s for s in experiment.spaces if s.backbone.name == candidate.network)
        paths = [experiment.dataset.paths[i] for i in experiment.split.train]
        return network_speed(space, paths) * (2 if candidate.tta == "mirror" else 1)

    def _head_seconds(self, candidate: Candidate, fitted: Fitted) -> float:
        some = self._task(candidate).train.subset(np.arange(min(200, self._n)))
        start = time.perf_counter()
        fitted.decision_function(some)
        return (time.perf_counter() - start) / len(some)


def _gmacs(backbone: Backbone) -> float:
    """Thousand million multiply-adds an image; where the registry has none, guessed from the parameters.

    CNNs for ImageNet have some 150 million for each million parameters (ResNet-50: 4.1 and 25.6).
    """
    if backbone.entry.gmacs is not None:
        return backbone.entry.gmacs
    size = (backbone.folder / "model.safetensors").stat().st_size
    return 0.15 * size / 4e6
