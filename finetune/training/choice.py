"""Which rate and how many epochs: chosen on images of the training part that are not trained on.

One fold's held-out part judges where it is large; of a small data set, several folds' are put together, for
fifty images tell little (their accuracy moves in steps of two points). Each rate gets a whole training: short
ones favour rates that are too low (Wu et al. 2018, "Understanding short-horizon bias in stochastic
meta-optimization"), and on sign-digits their order changed from run to run. What saves time instead is to
stop trying as soon as no rate could be told to be better.
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

#: With so few mistakes no rate could be told to be better: that takes six images that one calls rightly and
#: the other wrongly, and none the other way (exact McNemar test, 2 * 0.5**6 = 0.03, but 2 * 0.5**5 = 0.06).
FEW = 5

#: Where the best rate is the highest or the lowest tried, so many more are tried beyond it.
MOST_BEYOND = 2

#: A training is given up when its loss is so many times that of another after as many epochs.
HOPELESS = 3.0


@dataclass(frozen=True)
class Plan:
    """How the rate and the epochs are chosen.

    Attributes
    ----------
    recipe : Recipe
        Its epochs are the most that are tried, its rate is replaced by the best of `rates`.
    rates : tuple of float
        Tried in this order, the usual one first; with one there is nothing to choose.
    start : str
        ``probe`` or ``random``: what the classifier begins as.
    tensorboard : str or None
        Folder for TensorBoard.
    """

    recipe: Recipe
    rates: tuple[float, ...]
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
    """Choose the rate and the number of epochs.

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
    trials = _Trials(job, plan, legs, _judges(folds), begin)
    best = _best_rate(trials, plan.rates)
    recipe = dataclasses.replace(plan.recipe, rate=best.rate)
    # Without a mistake there is nothing to tell how sure is too sure; being surer yet would be a guess.
    labels = trials.labels
    temperature = max(0.0 if best.mistakes else 1.0, fit_temperature(best.scores, labels))
    record = {
        "rate": best.rate,
        "epochs": best.epochs,
        "of_epochs": recipe.epochs,
        "validation_accuracy": 1 - best.mistakes / len(labels),
        "n_validation": len(labels),
        "cv_accuracy": None,
        "cv_std": None,
        "temperature": temperature,
        "rates": trials.record(),
        "curve": best.curve,
    }
    return Choice(recipe, best.epochs, temperature, record)


def _judges(folds: Folds) -> list[tuple[Rows, Rows]]:
    """As many folds as it takes to hold enough images out."""
    most, images = 0, 0
    while most < folds.n_folds and images < ENOUGH:
        images += len(folds.pairs[most][1])
        most += 1
    return folds.pairs[:most]


def _best_rate(trials: "_Trials", rates: tuple[float, ...]) -> "_Judged":
    """Try rates until the best can't be told from a better one; beyond the ends too, should it be there."""
    for rate in rates:
        best = trials.judge(rate)
        if len(rates) == 1 or (best and best.mistakes <= FEW):
            break
    for _ in range(MOST_BEYOND):
        tried = sorted(trials.judged)
        best = trials.best()
        if len(tried) < 2 or best.mistakes <= FEW or best.rate not in (tried[0], tried[-1]):
            break
        step = (tried[1] / tried[0]) if best.rate == tried[0] else (tried[-2] / tried[-1])
        trials.judge(float(f"{best.rate / step:.1g}"))
    return trials.best()


@dataclass(frozen=True, eq=False)
class _Judged:
    """What a rate came to, over all judging folds."""

    rate: float
    curve: list[dict[str, Any]]
    epochs: int
    loss: float
    mistakes: int
    scores: NDArray[np.float32]


class _Trials:
    """Trainings at several rates, each outside every judging fold."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        legs: Checkpoints,
        pairs: list[tuple[Rows, Rows]],
        begin: Callable[[Rows], None],
    ) -> None:
        self._job, self._plan, self._legs, self._pairs, self._begin = job, plan, legs, pairs, begin
        self.labels = job.labels[np.concatenate([rows for _, rows in pairs])]
        self.judged: dict[float, _Judged | None] = {}
        self._lost: Diverged | None = None
        self._rungs: dict[tuple[int, int], float] = {}  # the lowest loss after each epoch of each fold

    def judge(self, rate: float) -> _Judged | None:
        """Train at a rate; None if its loss was lost, or it was given up."""
        found: list[Outcome] = []
        for fold in range(len(self._pairs)):
            if (outcome := self._train(rate, fold)) is None:
                self.judged[rate] = None
                return None
            found.append(outcome)
        self.judged[rate] = self._seen(rate, found)
        return self.judged[rate]

    def best(self) -> _Judged:
        whole = [judged for judged in self.judged.values() if judged]
        if not whole and self._lost and len(self.judged) == 1:
            raise self._lost
        if not whole:
            raise Diverged(
                f"The loss was lost at every rate from {min(self.judged):g}.", "Give a lower --rate."
            )
        return min(whole, key=lambda judged: judged.loss)

    def record(self) -> list[dict[str, Any]]:
        """What each rate came to, for ``run.json``; a loss of None was lost or given up."""
        return [
            {"rate": rate, "validation_loss": judged.loss if judged else None}
            for rate, judged in sorted(self.judged.items())
        ]

    def _train(self, rate: float, fold: int) -> Outcome | None:
        inner, held_out = self._pairs[fold]
        recipe = dataclasses.replace(self._plan.recipe, rate=rate)
        leg = self._legs.leg(f"rate-{rate:g}-{fold}")
        several = f", {fold + 1} of {len(self._pairs)}" if len(self._pairs) > 1 else ""
        rungs = dict(self._rungs)

        def hopeless(log: list[dict[str, Any]]) -> bool:
            bound = HOPELESS * rungs.get((fold, len(log)), math.inf)
            return bool(log) and log[-1]["validation_loss"] > bound

        self._begin(inner)
        try:
            found = train(
                *(self._job, inner, recipe, leg, f"rate {rate:g}{several}"),
                validation=held_out,
                hopeless=hopeless,
            )
        except Diverged as error:
            self._lost = error
            return None
        for line in found.log:
            place = (fold, line["epoch"])
            self._rungs[place] = min(line["validation_loss"], self._rungs.get(place, math.inf))
        return None if hopeless(found.log) else found

    def _seen(self, rate: float, found: list[Outcome]) -> _Judged:
        """How the folds fared together, after each epoch that all of them came to."""
        curve = [self._point(found, epoch) for epoch in range(1, min(len(f.log) for f in found) + 1)]
        best = min(curve, key=lambda point: point["validation_loss"])
        scores = _scores(found, best["epochs"])
        mistakes = int((scores.argmax(axis=1) != self.labels).sum())
        return _Judged(rate, curve, best["epochs"], best["validation_loss"], mistakes, scores)

    def _point(self, found: list[Outcome], epoch: int) -> dict[str, Any]:
        scores = _scores(found, epoch)
        lines = [outcome.log[epoch - 1] for outcome in found]
        temperature = fit_temperature(scores, self.labels)
        return {
            "epochs": epoch,
            "validation_accuracy": float((scores.argmax(axis=1) == self.labels).mean()),
            "validation_loss": log_loss(self.labels, softmax(scores / temperature)),
            "loss": float(np.mean([line["loss"] for line in lines])),
            "accuracy": float(np.mean([line["accuracy"] for line in lines])),
        }


def _scores(found: list[Outcome], epoch: int) -> NDArray[np.float32]:
    return np.concatenate([outcome.scores[epoch - 1] for outcome in found])
