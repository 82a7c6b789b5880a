"""The race: candidates are tried on the same folds, the quick ones first, as long as there is time.

What would take longer than the time that is left is not begun, and what is clearly beaten is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from finetune.auto.candidates import Candidate, on_features, references
from finetune.auto.course import Course, gmacs
from finetune.auto.networks import Trainings
from finetune.auto.outcome import Outcome
from finetune.likeness import images_a_class, likeness, rule
from zoo.errors import WeightsError

if TYPE_CHECKING:
    from finetune.method import Fitted
    from zoo.backbone import Backbone

__all__ = ["Race"]

#: What is tried on the first network before anything else; the others are slower, and seldom the best.
FIRST = ("knn", "probe", "kernel")


class Race:
    """Candidates that are tried one after the other.

    Parameters
    ----------
    course : Course
    networks : sequence of (str, callable)
        Names of more networks, and what loads each.
    """

    def __init__(self, course: Course, networks: Sequence[tuple[str, Callable[[], Backbone]]] = ()) -> None:
        self._course, self._networks = course, networks
        self._trainings = Trainings(course)

    def run(self) -> None:
        """Try what there is time for; after Ctrl-C, what was tried so far counts."""
        course = self._course
        try:
            first = on_features(course.experiment.backbone.name, course.view, course.tta)
            probe, *quick = sorted(
                (c for c in first if c.strategy in FIRST), key=lambda c: c.strategy != "probe"
            )
            course.try_classifier(probe, always=True)
            for candidate in quick:
                course.try_classifier(candidate)
            slow = [c for c in [*references(), *first] if c.strategy not in FIRST]
            for step in self._steps(slow):
                step()
        except KeyboardInterrupt:
            if not course.outcomes:
                raise
            course.stopped = True
            course.experiment.log("Stopped: the best so far is evaluated and written. Ctrl-C again ends it.")

    def fit(self, outcome: Outcome) -> Fitted:
        """Return a candidate fitted to all training images."""
        trains = outcome.candidate.method().trains_network
        return (self._trainings if trains else self._course).fit(outcome.candidate)

    def _steps(self, slow: Sequence[Candidate]) -> list[Callable[[], object]]:
        """What to try after the quick classifiers, the most promising first."""
        others = [lambda c=candidate: self._course.try_classifier(c) for candidate in slow]
        views = [lambda: self._other_view("crop", "mirror"), lambda: self._other_view("whole", "none")]
        networks = [lambda n=name, load=load: self._network(n, load) for name, load in self._networks]
        last_layers, full = (
            lambda s=name: self._trainings.try_training(s) for name in ("last-layers", "full")
        )
        more: list[Callable[[], object]] = [*others, *views, *networks]
        return [last_layers, *more, full] if self._unlike_imagenet() else [*more, last_layers, full]

    def _unlike_imagenet(self) -> bool:
        """Whether the rule of thumb of CS231n's notes says to train more than a classifier."""
        experiment, y = self._course.experiment, self._course.standing.labels
        rows = experiment.split.train
        X, pixels = experiment.matrices[experiment.backbone.name], experiment.matrices["pixels"]
        amount = images_a_class(y, len(experiment.dataset.classes))
        return rule(amount, likeness(X[rows], pixels[rows], y))[0] != "probe"

    def _other_view(self, view: str, tta: str) -> None:
        """Try the best classifier on features of the whole image, or averaged over mirror images."""
        course = self._course
        if (course.view, course.tta) != ("crop", "none"):  # what was requested stays as it is
            return
        like, first = course.best_classifier(), course.experiment.backbone
        candidate = replace(like, view=view, tta=tta)
        seconds = len(course.experiment.dataset) * course.network_seconds(like)
        if self._worth_computing(candidate, seconds) and course.extract(candidate, first):
            course.try_classifier(candidate)

    def _network(self, name: str, load: Callable[[], Backbone]) -> None:
        """Try the best classifier so far on another network; where it is not beaten, the others too."""
        course = self._course
        like = course.best_classifier()
        candidate = replace(like, network=name)
        try:
            backbone = load()
        except WeightsError as error:
            course.skip(name, error.problem)
            return
        times = gmacs(backbone) / gmacs(course.experiment.backbone)
        seconds = times * len(course.experiment.dataset) * course.network_seconds(like)
        if not self._worth_computing(candidate, seconds) or not course.extract(candidate, backbone):
            return
        if (found := course.try_classifier(candidate)) is None:
            return
        own = next(outcome for outcome in course.outcomes if outcome.candidate == like)
        if course.standing.gain(found, own).clearly_beaten:
            course.skip(f"other classifiers, {name}", f"{candidate.name} is clearly behind {like.name}")
            return
        for other in on_features(name, course.view, course.tta):
            if other != candidate and other.strategy in ("probe", "kernel"):
                course.try_classifier(other)

    def _worth_computing(self, candidate: Candidate, seconds: float) -> bool:
        """Whether there is time to compute features for a candidate, and something to be won."""
        course = self._course
        if course.hopeless(candidate.name):
            return False
        if not course.results.find(candidate) and not course.fits(candidate.name, seconds):
            return False
        course.announce(f"features for {candidate.name}", seconds)
        return True
