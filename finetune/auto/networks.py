"""The candidates that train the network itself: which settings there is time for, and whether that pays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finetune.auto.candidates import Candidate, trainings
from finetune.auto.course import Course
from finetune.auto.outcome import Outcome
from finetune.errors import TrainingError
from finetune.training.speed import TrainingSpeed, remembered_speed, training_speed

if TYPE_CHECKING:
    from finetune.method import Fitted
    from finetune.training.chosen import Chosen
    from finetune.training.method import NetworkMethod

__all__ = ["Trainings"]

#: About what measuring the speed of a training takes: seconds, mostly for loading torch and the network, and
#: the times that the network computes an image's features.
MEASURING, PASSES = 8.0, 300

#: What training on an image once takes at least, in times of computing its features.
AT_LEAST = {"last-layers": 0.3, "full": 3.0}

#: What a predicted time is multiplied by: other programs may slow this one down.
SAFETY = 1.15


class Trainings:
    """The trainings of a race; the best of them is kept, so that it can be finished.

    Parameters
    ----------
    course : Course
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._chosen: dict[str, Chosen] = {}

    def fit(self, candidate: Candidate) -> Fitted:
        """Train on all training images."""
        return (self._chosen.get(candidate.key) or self._choose(candidate)).fit()

    def try_training(self, strategy: str) -> None:
        """Try ``last-layers`` or ``full`` where there is time for it, and where it can pay."""
        course = self._course
        settings = trainings(strategy, self._network(), course.n, course.view)
        usual = settings[0]
        if course.hopeless(usual.name) or self._pointless(usual):
            return
        found = next((o for each in settings if (o := course.results.find(each))), None)
        if found:
            course.outcomes.append(found)
        speed = self._speed(usual, settings)
        if speed is None or found:
            if speed and found:
                self._reserve(found, speed)
            return
        candidate, seconds = self._affordable(settings, speed)
        if candidate is None:
            course.fits(usual.name, SAFETY * seconds)
            return
        course.announce(candidate.name, seconds)
        try:
            self._try(candidate, speed)
        except TrainingError as error:
            course.skip(candidate.name, error.problem)

    def _network(self) -> str:
        """The network of the best classifier, where it sees images as they are requested."""
        best = self._course.best.candidate.network
        return best if best and self._course.has(best) else self._course.experiment.backbone.name

    def _pointless(self, usual: Candidate) -> bool:
        course = self._course
        if course.tta != "none":
            course.skip(usual.name, f"--tta {course.tta} averages features of a frozen network")
            return True
        tried = [o for o in course.outcomes if o.candidate.strategy == "last-layers"]
        if usual.strategy == "full" and any(o.status == "dropped" for o in tried):
            course.skip(usual.name, "training the last layers alone is not better either")
            return True
        return False

    def _speed(self, usual: Candidate, settings: Sequence[Candidate]) -> TrainingSpeed | None:
        """How long the parts of a training take; None where there is no time to measure it."""
        course, backbone = self._course, self._course.backbone(usual)
        method = cast("NetworkMethod[Any]", usual.method())
        assert backbone is not None
        image = course.network_seconds(usual)
        if remembered_speed(method, backbone, image) is None:
            measuring = MEASURING + PASSES * image
            views = image if usual.strategy == "last-layers" else 0.0
            least = TrainingSpeed(measuring, views, AT_LEAST[usual.strategy] * image, 0.0, 0.0)
            candidate, seconds = self._affordable(settings, least)
            if candidate is None:
                course.fits(usual.name, max(seconds, measuring))
                return None
            course.announce(f"the speed of {usual.name}")
        return training_speed(method, course.task(usual), backbone, image)

    def _affordable(
        self, candidates: Sequence[Candidate], speed: TrainingSpeed
    ) -> tuple[Candidate | None, float]:
        """Return the most thorough settings that there is time for, and the seconds that they take."""
        course, seconds = self._course, 0.0
        for candidate in candidates:
            options: Any = candidate.method().options
            resolved = options.resolved(course.n)
            tries = len(options.learning_rates(course.n))
            seconds = speed.choosing(resolved, course.experiment.folds, course.n, tries)
            seconds += self._finishing(candidate, speed)
            if SAFETY * seconds <= course.left:
                return candidate, seconds
        return None, seconds

    def _try(self, candidate: Candidate, speed: TrainingSpeed) -> None:
        """Choose learning rate and alpha, cross-validate if there is time, and compare with the best."""
        course, start = self._course, time.perf_counter()
        chosen = self._choose(candidate)
        after = speed.cross_validating(chosen.bench.options, course.experiment.folds)
        if SAFETY * (after + self._finishing(candidate, speed)) < course.left:
            chosen.cross_validate()
        rows, scores = chosen.validation
        if chosen.out_of_fold is not None:
            rows, scores = np.arange(course.n), chosen.out_of_fold
        order = np.argsort(rows)
        seconds = time.perf_counter() - start
        milliseconds = 1000 * course.network_seconds(candidate)
        outcome = Outcome(
            candidate, rows[order], scores[order], course.cost(candidate), seconds, milliseconds
        )
        if course.standing.prefers(outcome, course.best):
            self._chosen = {candidate.key: chosen}
            course.keep(outcome)
            self._reserve(outcome, speed)
        else:
            reason = f"not better than the best on {len(rows):,} images"
            course.keep(outcome.dropped(reason))

    def _choose(self, candidate: Candidate) -> Chosen:
        course, backbone = self._course, self._course.backbone(candidate)
        assert backbone is not None
        task = course.task(candidate, checkpoints=course.results.checkpoints(candidate))
        return cast("NetworkMethod[Any]", candidate.method()).choose(task, backbone)

    def _finishing(self, candidate: Candidate, speed: TrainingSpeed) -> float:
        options: Any = candidate.method().options
        n = self._course.n
        return speed.finishing(options.resolved(n), n, len(self._course.experiment.split.test))

    def _reserve(self, outcome: Outcome, speed: TrainingSpeed) -> None:
        """Keep the time that a trained network needs at the end, if it is the best."""
        if self._course.best is outcome:
            self._course.reserved = SAFETY * self._finishing(outcome.candidate, speed)
