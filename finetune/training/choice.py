"""Choice of the learning rate and of alpha, on training images that are held out of the training.

The held-out part of one fold decides where it is large; of a small data set, those of several folds are put
together, for fifty images tell little (their accuracy moves in steps of two points). Each learning rate gets
a whole training: short ones favour learning rates that are too low (Wu et al. 2018, "Understanding
short-horizon bias in stochastic meta-optimization"). No further one is tried as soon as none could be told
to be better. The last epoch counts, and not the one with the lowest loss, which at a high learning rate is
luck: of five trainings on sign-digits, one that stopped there came to 90.9% instead of 98%.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.split import Folds
from finetune.evaluation.calibration import fit_temperature
from finetune.training.bench import Bench
from finetune.training.checkpoint import Checkpoints
from finetune.training.interpolation import (
    ALPHAS,
    choose_alpha,
    interpolate,
    standard_error,
    trained_state,
)
from finetune.training.learner import Diverged
from finetune.training.loop import Outcome, log_losses, train
from finetune.training.sources import Rows

__all__ = ["Choice", "choose"]

#: So many held-out images are enough to decide; folds are added until there are.
ENOUGH = 90

#: With so few mistakes no learning rate could be told to be better: that takes six images that one predicts
#: correctly and the other does not, and none the other way (exact McNemar test, 2 * 0.5**6 = 0.03, but
#: 2 * 0.5**5 = 0.06).
FEW = 5

#: Where the best learning rate is the highest or the lowest tried, so many more are tried beyond it.
MOST_BEYOND = 2

#: A training is pruned when its loss is so many times that of another after as many epochs.
PRUNED = 3.0


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen.

    Attributes
    ----------
    lr : float
        The learning rate.
    epochs : int
        After how many of those that the schedule is made for to stop.
    alpha : float
        Share of the trained weights in their interpolation with the start.
    temperature : float
        What scores are to be divided by.
    record : dict
        All of it with its scores, for ``run.json``.
    warnings : list of str
        What the user should know.
    """

    lr: float
    epochs: int
    alpha: float
    temperature: float
    record: dict[str, Any]
    warnings: list[str]


def choose(bench: Bench, learning_rates: tuple[float, ...], folds: Folds, checkpoints: Checkpoints) -> Choice:
    """Choose the learning rate and alpha.

    Parameters
    ----------
    bench : Bench
        What is trained.
    learning_rates : tuple of float
        Tried in this order, the usual one first; a single one is not compared to others.
    folds : Folds
        Of the bench's images.
    checkpoints : Checkpoints

    Returns
    -------
    Choice

    Raises
    ------
    Diverged
        If the training diverges at every learning rate.
    """
    trials = _Trials(bench, checkpoints, _judging(folds))
    best = _best_trial(trials, learning_rates)
    labels, scores = trials.labels, best.scores[best.alpha]
    mistakes = int((scores.argmax(axis=1) != labels).sum())
    # Without a mistake there is no evidence of how confident is too confident.
    temperature = max(0.0 if mistakes else 1.0, fit_temperature(scores, labels))
    record = {
        "lr": best.lr,
        "epochs": best.epochs,
        "scheduled_epochs": bench.options.epochs,
        "alpha": best.alpha,
        "validation_accuracy": 1 - mistakes / len(labels),
        "n_validation": len(labels),
        "cv_accuracy": None,
        "cv_std": None,
        "temperature": temperature,
        "learning_rates": trials.record(),
        "alphas": best.alphas,
        "curve": best.curve,
    }
    return Choice(best.lr, best.epochs, best.alpha, temperature, record, best.warnings(labels, trials.groups))


def _judging(folds: Folds) -> list[tuple[Rows, Rows]]:
    """As many folds as it takes to hold enough images out."""
    most, images = 0, 0
    while most < folds.n_folds and images < ENOUGH:
        images += len(folds.pairs[most][1])
        most += 1
    return folds.pairs[:most]


def _best_trial(trials: "_Trials", learning_rates: tuple[float, ...]) -> "_Trial":
    """Try learning rates until none could be told to be better; beyond the ends too, if the best is there."""
    for lr in learning_rates:
        trial = trials.run(lr)
        if len(learning_rates) == 1 or (trial and trial.mistakes <= FEW):
            break
    for _ in range(MOST_BEYOND):
        tried = sorted(trials.done)
        best = trials.best()
        if len(tried) < 2 or best.mistakes <= FEW or best.lr not in (tried[0], tried[-1]):
            break
        step = (tried[1] / tried[0]) if best.lr == tried[0] else (tried[-2] / tried[-1])
        trials.run(float(f"{best.lr / step:.1g}"))
    return trials.best()


@dataclass(frozen=True, eq=False)
class _Trial:
    """The trainings at one learning rate, over all judging folds.

    Attributes
    ----------
    lr : float
    curve : list of dict
        A point for each epoch that all trainings went through.
    before_last : (m, c) array or None
        Scores of the held-out images one epoch before the last.
    scores : dict of float to (m, c) array
        Theirs after the last epoch, by alpha.
    alpha : float
    alphas : list of dict
        As by :func:`choose_alpha`.
    mistakes : int
        Wrong predictions after the last epoch, with alpha 1.
    """

    lr: float
    curve: list[dict[str, Any]]
    before_last: NDArray[np.float32] | None
    scores: dict[float, NDArray[np.float32]]
    alpha: float
    alphas: list[dict[str, float]]
    mistakes: int

    @property
    def epochs(self) -> int:
        return int(self.curve[-1]["epochs"])

    @property
    def loss(self) -> float:
        return float(self.curve[-1]["validation_loss"])

    def warnings(self, labels: NDArray[np.int64], groups: NDArray[Any] | None) -> list[str]:
        start, end = (_losses(self.scores[alpha], labels) for alpha in (0.0, 1.0))
        gain = start - end
        if self.alpha == 0 or gain.mean() <= standard_error(gain, groups):
            result = "the result is that start" if self.alpha == 0 else "--strategy probe may do as well"
            return [
                f"On {len(labels)} training images that were held out, training is not better than the "
                f"classifier it started from by more than one standard error: {result}."
            ]
        if self.before_last is None or self.alpha < 1:
            return []
        gain = _losses(self.before_last, labels) - end
        if gain.mean() > 2 * standard_error(gain, groups) > 0:
            return [f"The loss was still falling in the last of {self.epochs} epochs: try more --epochs."]
        return []


class _Trials:
    """Trainings at several learning rates, each outside every judging fold."""

    def __init__(self, bench: Bench, checkpoints: Checkpoints, pairs: list[tuple[Rows, Rows]]) -> None:
        self._bench, self._checkpoints, self._pairs = bench, checkpoints, pairs
        judging = np.concatenate([rows for _, rows in pairs])
        train = bench.task.train
        self.labels = train.labels[judging]
        self.groups = None if train.groups is None else train.groups[judging]
        self.done: dict[float, _Trial | None] = {}
        self._diverged: Diverged | None = None
        self._lowest: dict[tuple[int, int], float] = {}  # the lowest loss after each epoch of each fold

    def run(self, lr: float) -> _Trial | None:
        """Train at a learning rate; None if the training diverged or was pruned."""
        self.done[lr] = None
        outcomes: list[Outcome] = []
        scores: dict[float, list[NDArray[np.float32]]] = {}
        for fold in range(len(self._pairs)):
            if (found := self._train(lr, fold)) is None:
                return None
            outcomes.append(found[0])
            for alpha, part in found[1].items():
                scores.setdefault(alpha, []).append(part)
        self.done[lr] = self._trial(lr, outcomes, {a: np.concatenate(parts) for a, parts in scores.items()})
        return self.done[lr]

    def best(self) -> _Trial:
        whole = [trial for trial in self.done.values() if trial]
        if not whole and self._diverged and len(self.done) == 1:
            raise self._diverged
        if not whole:
            raise Diverged(
                f"The training diverged at every learning rate from {min(self.done):g}.", "Give a lower --lr."
            )
        return min(whole, key=lambda trial: trial.loss)

    def record(self) -> list[dict[str, Any]]:
        """Each learning rate with its loss; None where the training diverged or was pruned."""
        return [
            {"lr": lr, "validation_loss": trial.loss if trial else None}
            for lr, trial in sorted(self.done.items())
        ]

    def _train(self, lr: float, fold: int) -> tuple[Outcome, dict[float, NDArray[np.float32]]] | None:
        inner, held_out = self._pairs[fold]
        options = self._bench.options.model_copy(update={"lr": lr})
        checkpoint = self._checkpoints.named(f"lr-{lr:g}-{fold}")
        several = f", fold {fold + 1} of {len(self._pairs)}" if len(self._pairs) > 1 else ""
        lowest = dict(self._lowest)

        def pruned(log: list[dict[str, Any]]) -> bool:
            bound = PRUNED * lowest.get((fold, len(log)), math.inf)
            return bool(log[-1]["validation_loss"] > bound)

        start = self._bench.begin(inner)
        name = f"lr {lr:g}{several}"
        try:
            found = train(self._bench.job, inner, options, checkpoint, name, validation=held_out, stop=pruned)
        except Diverged as error:
            self._diverged = error
            return None
        for line in found.log:
            place = (fold, line["epoch"])
            self._lowest[place] = min(line["validation_loss"], self._lowest.get(place, math.inf))
        return None if pruned(found.log) else (found, self._interpolated(start, held_out, found.scores[-1]))

    def _interpolated(
        self, start: dict[str, Any], held_out: Rows, trained: NDArray[np.float32]
    ) -> dict[float, NDArray[np.float32]]:
        """The scores of held-out rows by alpha; those of the two ends even where nothing is interpolated."""
        network = self._bench.job.network
        end = trained_state(network)
        scores = {1.0: trained}
        for alpha in ALPHAS[:-1] if self._bench.options.interpolate else (0.0,):
            interpolate(network, start, end, alpha)
            scores[alpha] = self._bench.scores(held_out)
        return scores

    def _trial(self, lr: float, outcomes: list[Outcome], scores: dict[float, NDArray[np.float32]]) -> _Trial:
        """How the folds fared together, after each epoch that all of them went through."""
        epochs = min(len(outcome.log) for outcome in outcomes)
        alpha, alphas = choose_alpha(scores, self.labels, self.groups)
        return _Trial(
            lr,
            [self._point(outcomes, epoch) for epoch in range(1, epochs + 1)],
            _together(outcomes, epochs - 1) if epochs > 1 else None,
            scores,
            alpha if self._bench.options.interpolate else 1.0,
            alphas,
            int((_together(outcomes, epochs).argmax(axis=1) != self.labels).sum()),
        )

    def _point(self, outcomes: list[Outcome], epoch: int) -> dict[str, Any]:
        scores = _together(outcomes, epoch)
        lines = [outcome.log[epoch - 1] for outcome in outcomes]
        return {
            "epochs": epoch,
            "validation_accuracy": float((scores.argmax(axis=1) == self.labels).mean()),
            "validation_loss": float(_losses(scores, self.labels).mean()),
            "loss": float(np.mean([line["loss"] for line in lines])),
            "accuracy": float(np.mean([line["accuracy"] for line in lines])),
        }


def _together(outcomes: list[Outcome], epoch: int) -> NDArray[np.float32]:
    return np.concatenate([outcome.scores[epoch - 1] for outcome in outcomes])


def _losses(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return log_losses(scores, labels, fit_temperature(scores, labels))
