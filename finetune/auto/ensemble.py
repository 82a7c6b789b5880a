"""An average of several classifiers' probabilities, where that is better than the best of them alone.

Members are added one by one, with replacement, each time the one that lowers the out-of-fold log loss most
(Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models", ICML). They
share a network: one pass gives the features of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.auto.candidates import Candidate
from finetune.auto.course import Course
from finetune.auto.outcome import Outcome
from finetune.evaluation.calibration import fit_temperature, log_losses
from finetune.method import Method
from finetune.methods import make_method
from finetune.runs.ensemble import Ensemble, Member, averaged
from finetune.runs.saved import FittedHead

if TYPE_CHECKING:
    from finetune.method import Fitted

__all__ = ["greedy", "try_ensemble"]

#: Members that may be added, the same one several times.
ROUNDS = 20


@dataclass(frozen=True)
class EnsembleCandidate(Candidate):
    """Several candidates on one network's features."""

    def method(self) -> Method:
        """Return a method that reads the same features; an ensemble is not fitted by one."""
        return make_method("probe", features=self.options["features"])

    @property
    def name(self) -> str:
        """What people read."""
        return f"ensemble of {' + '.join(self.options['members'])}, {self.network}"

    def __hash__(self) -> int:
        return hash(self.key)


def greedy(scores: Sequence[np.ndarray[Any, Any]], labels: np.ndarray[Any, Any]) -> Counter[int]:
    """Return how often each candidate is a member of the ensemble.

    Parameters
    ----------
    scores : sequence of (n, c) arrays
        Calibrated out-of-fold scores.
    labels : (n,) int array
    """

    def loss(members: Counter[int]) -> float:
        total = members.total()
        mixed = averaged([scores[i] for i in members], [times / total for times in members.values()])
        return float(log_losses(mixed, labels, 1.0).mean())

    chosen: Counter[int] = Counter()
    lowest = np.inf
    for _ in range(ROUNDS):
        tried = [(loss(chosen + Counter([i])), i) for i in range(len(scores))]
        best, member = min(tried)
        if best >= lowest:
            break
        lowest = best
        chosen[member] += 1
    return chosen


def try_ensemble(course: Course) -> tuple[Outcome, Fitted] | None:
    """Average the classifiers of the best one's network; None where that is no better than the best alone."""
    best = course.best
    if best.candidate.network is None or best.candidate.method().trains_network:
        course.skip(
            "ensemble", f"the features of {best.candidate.name} are not those of the other candidates"
        )
        return None
    place = course.of(best.candidate)
    rivals = [
        o
        for o in course.outcomes
        if o.candidate.network == best.candidate.network
        and course.of(o.candidate) is place
        and not o.candidate.method().trains_network
    ]
    labels = course.standing.labels
    members = greedy([o.scores for o in rivals], labels)
    parts = [(rivals[i], times / members.total()) for i, times in sorted(members.items())]
    outcome = _outcome(course, parts)
    if len(parts) < 2 or not course.standing.gain(outcome, best).real:
        name = best.candidate.name
        course.skip("ensemble", f"not better than {name} alone by more than one standard error")
        return None
    course.keep(outcome)
    return outcome, _fitted(course, outcome, parts)


def _outcome(course: Course, parts: Sequence[tuple[Outcome, float]]) -> Outcome:
    first = parts[0][0].candidate
    features = "stages" if any(o.candidate.options.get("features") == "stages" for o, _ in parts) else "last"
    names = [o.candidate.name.partition(",")[0] for o, _ in parts]
    options = {"features": features, "members": names}
    mixed = averaged([o.scores for o, _ in parts], [weight for _, weight in parts])
    scores = mixed / fit_temperature(mixed, course.standing.labels)
    network_cost = course.cost(first)
    return Outcome(
        EnsembleCandidate("ensemble", first.network, options, first.view, first.tta),
        parts[0][0].rows,
        scores,
        network_cost + sum(o.cost - network_cost for o, _ in parts),
        sum(o.seconds for o, _ in parts),
        sum(o.milliseconds for o, _ in parts) - (len(parts) - 1) * 1000 * course.network_seconds(first),
    )


def _fitted(course: Course, outcome: Outcome, parts: Sequence[tuple[Outcome, float]]) -> Fitted:
    candidate = outcome.candidate
    backbone, task = course.backbone(candidate), course.task(candidate)
    assert backbone is not None
    members = []
    for each, weight in parts:
        fitted: Any = course.fit(each.candidate)
        members.append(Member(fitted.head, fitted.features, weight))
    n_last = backbone.num_features if candidate.options["features"] == "stages" else None
    mixed = averaged([o.scores for o, _ in parts], [weight for _, weight in parts])
    correct = mixed.argmax(axis=1) == task.train.labels
    accuracies = [correct[rows].mean() for _, rows in task.folds.pairs]
    choice = {
        "members": [
            {"name": o.candidate.name, "weight": weight, "features": m.features}
            for (o, weight), m in zip(parts, members, strict=True)
        ],
        "cv_accuracy": float(np.mean(accuracies)),
        "cv_std": float(np.std(accuracies)),
        "features": candidate.options["features"],
    }
    return FittedHead.calibrated(task, backbone, Ensemble(tuple(members), n_last), mixed, choice, [], [])
