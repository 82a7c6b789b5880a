"""Which rate and how many epochs: chosen on images of the training part that are not trained on.

One fold's held-out part judges where it is large; of a small data set, several folds' are put together, for
fifty images tell little (their accuracy moves in steps of two points).
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.split import Folds
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.training.checkpoint import Checkpoints
from finetune.training.learner import Diverged
from finetune.training.loop import Job, Outcome, train
from finetune.training.recipe import Recipe
from finetune.training.sources import Rows

__all__ = ["ENOUGH", "Choice", "Plan", "choose"]

#: So many held-out images judge well enough; folds are added until there are.
ENOUGH = 90

#: Where the best rate is the highest or the lowest tried, so many more are tried beyond it.
MOST_BEYOND = 2

#: A trial is given up when its loss is so many times that of another after as many epochs.
HOPELESS = 1.5


@dataclass(frozen=True)
class Plan:
    """How the rate and the epochs are chosen.

    Attributes
    ----------
    recipe : Recipe
        Its epochs are the most that are tried, its rate is replaced by the best of `rates`.
    rates : tuple of float
        Tried in short trainings; with one there is nothing to choose.
    trial_epochs : int
        How long these are.
    start : str
        ``probe`` or ``random``: what the classifier begins as.
    tensorboard : str or None
        Folder for TensorBoard.
    """

    recipe: Recipe
    rates: tuple[float, ...]
    trial_epochs: int
    start: str = "probe"
    tensorboard: str | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes
    ----------
    recipe : Recipe
        With the rate; its epochs are those that the schedule is laid out for.
    epochs : int
        After how many of them to stop.
    temperature : float
        What scores are to be divided by.
    record : dict
        How it fared, for ``run.json``.
    """

    recipe: Recipe
    epochs: int
    temperature: float
    record: dict[str, Any]


def choose(job: Job, plan: Plan, legs: Checkpoints, folds: Folds, begin: Callable[[Rows], None]) -> Choice:
    """Choose the rate by short trainings and the number of epochs by a long one.

    Parameters
    ----------
    job : Job
        What is trained.
    plan : Plan
    legs : Checkpoints
    folds : Folds
        Of the job's rows.
    begin : callable
        Puts the network back to where trainings on some rows begin.

    Returns
    -------
    Choice

    Raises
    ------
    Diverged
        If the loss is lost at every rate.
    """
    pairs = _judges(folds)
    rate, tried = _best_rate(job, plan, legs, pairs, begin)
    recipe = dataclasses.replace(plan.recipe, rate=rate)
    found = []
    for i, (inner, held_out) in enumerate(pairs):
        begin(inner)
        name = "choosing epochs" + (f" {i + 1} of {len(pairs)}" if len(pairs) > 1 else "")
        found.append(train(job, inner, recipe, legs.leg(f"epochs-{i}"), name, validation=held_out))
    labels = job.labels[np.concatenate([rows for _, rows in pairs])]
    curve = [_point(found, labels, epoch) for epoch in range(1, min(len(f.log) for f in found) + 1)]
    epochs = min(curve, key=lambda point: point["validation_loss"])["epochs"]
    scores = _scores(found, epochs)
    right = scores.argmax(axis=1) == labels
    # Without a mistake there is nothing to tell how sure is too sure; being surer yet would be a guess.
    temperature = max(1.0 if right.all() else 0.0, fit_temperature(scores, labels))
    record = {
        "rate": rate,
        "epochs": epochs,
        "of_epochs": recipe.epochs,
        "validation_accuracy": float(right.mean()),
        "n_validation": len(labels),
        "cv_accuracy": None,
        "cv_std": None,
        "temperature": temperature,
        "rates": tried,
        "curve": curve,
    }
    return Choice(recipe, epochs, temperature, record)


def _judges(folds: Folds) -> list[tuple[Rows, Rows]]:
    """As many folds as it takes to hold enough images out."""
    most, images = 0, 0
    while most < folds.n_folds and images < ENOUGH:
        images += len(folds.pairs[most][1])
        most += 1
    return folds.pairs[:most]


def _scores(found: list[Outcome], epoch: int) -> NDArray[np.float32]:
    return np.concatenate([outcome.scores[epoch - 1] for outcome in found])


def _point(found: list[Outcome], labels: NDArray[np.int64], epoch: int) -> dict[str, Any]:
    """What an epoch came to, over all judging folds."""
    scores = _scores(found, epoch)
    lines = [outcome.log[epoch - 1] for outcome in found]
    return {
        "epochs": epoch,
        "validation_accuracy": float((scores.argmax(axis=1) == labels).mean()),
        "validation_loss": log_loss(labels, softmax(scores / fit_temperature(scores, labels))),
        "loss": float(np.mean([line["loss"] for line in lines])),
        "accuracy": float(np.mean([line["accuracy"] for line in lines])),
    }


def _best_rate(
    job: Job,
    plan: Plan,
    legs: Checkpoints,
    pairs: list[tuple[Rows, Rows]],
    begin: Callable[[Rows], None],
) -> tuple[float, list[dict[str, Any]]]:
    """Try the rates in short trainings; the lowest loss on the held-out rows wins."""
    if len(plan.rates) == 1:
        return plan.rates[0], []
    trials = _Trials(job, plan, legs, pairs, begin)
    for rate in plan.rates:
        trials.judge(rate)
    for _ in range(MOST_BEYOND):
        rates = sorted(trials.judged)
        best = trials.best()
        if best not in (rates[0], rates[-1]):
            break
        step = (rates[1] / rates[0]) if best == rates[0] else (rates[-2] / rates[-1])
        trials.judge(float(f"{best / step:.1g}"))
    best = trials.best()
    if math.isinf(trials.judged[best]):
        raise Diverged(
            f"The loss was lost at every rate from {min(trials.judged):g}.", "Give a lower --rate."
        )
    return best, trials.record()


class _Trials:
    """Short trainings at several rates."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        legs: Checkpoints,
        pairs: list[tuple[Rows, Rows]],
        begin: Callable[[Rows], None],
    ) -> None:
        self._job, self._plan, self._legs, self._pairs, self._begin = job, plan, legs, pairs, begin
        self.judged: dict[float, float] = {}
        self._rungs: dict[tuple[int, int], float] = {}  # the lowest loss after each epoch of each fold

    def judge(self, rate: float) -> None:
        """Train at a rate, outside each judging fold."""
        losses = []
        for fold, (inner, held_out) in enumerate(self._pairs):
            self._begin(inner)
            losses.append(self._loss(rate, fold, inner, held_out))
            if math.isinf(losses[-1]):
                break
        self.judged[rate] = float(np.mean(losses))

    def best(self) -> float:
        return min(self.judged, key=lambda rate: self.judged[rate])

    def record(self) -> list[dict[str, Any]]:
        """What each rate came to, for ``run.json``."""
        epochs = self._plan.trial_epochs
        return [
            {"rate": rate, "validation_loss": None if math.isinf(loss) else loss, "of_epochs": epochs}
            for rate, loss in sorted(self.judged.items())
        ]

    def _loss(self, rate: float, fold: int, inner: Rows, held_out: Rows) -> float:
        recipe = dataclasses.replace(self._plan.recipe, rate=rate, epochs=self._plan.trial_epochs)
        leg = self._legs.leg(f"rate-{rate:g}-{fold}")
        rungs = dict(self._rungs)

        def hopeless(log: list[dict[str, Any]]) -> bool:
            bound = HOPELESS * rungs.get((fold, len(log)), math.inf)
            return bool(log) and log[-1]["validation_loss"] > bound

        try:
            found = train(
                self._job, inner, recipe, leg, f"rate {rate:g}", validation=held_out, hopeless=hopeless
            )
        except Diverged:
            return math.inf
        for line in found.log:
            place = (fold, line["epoch"])
            self._rungs[place] = min(line["validation_loss"], self._rungs.get(place, math.inf))
        return found.judged
