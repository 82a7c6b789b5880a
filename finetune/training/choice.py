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

from finetune.data.split import Folds, judging_folds
from finetune.evaluation.calibration import fit_temperature, log_losses
from finetune.evaluation.comparisons import standard_error
from finetune.training.bench import Bench
from finetune.training.checkpoint import Checkpoints
from finetune.training.interpolation import ALPHAS, choose_alpha, interpolate, trained_state
from finetune.training.learner import Diverged
from finetune.training.loop import Outcome, train
from finetune.training.sources import Rows

__all__ = ["choose"]

#: With so few mistakes no learning rate could be told to be better: that takes six images that one predicts
#: correctly and the other does not, and none the other way (exact McNemar test, 2 * 0.5**6 = 0.03, but
#: 2 * 0.5**5 = 0.06).
FEW = 5

#: Where the best learning rate is the highest or the lowest tried, so many more are tried beyond it.
MOST_BEYOND = 2

#: A training is pruned when its loss is so many times that of another after as many epochs.
PRUNED = 3.0


def choose(
    bench: Bench, learning_rates: tuple[float, ...], folds: Folds, checkpoints: Checkpoints
) -> tuple[dict[str, Any], list[str], tuple[Rows, NDArray[np.float32]]]:
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
    choice : dict
        ``lr``; ``epochs``, after how many of ``of_epochs`` to stop; ``alpha``, the share of the trained
        weights in their interpolation with the start; ``temperature``, what scores are to be divided by; and
        what the choice was made on, for ``run.json``.
    warnings : list of str
        What the user should know.
    validation : (rows, scores)
        The images that the choice was made on, and their scores, (m, c), divided by the temperature.

    Raises
    ------
    Diverged
        If the training diverges at every learning rate.
    """
    trials = _Trials(bench, checkpoints, judging_folds(folds))
    best = _best_trial(trials, learning_rates)
    labels = trials.labels
    alpha, alphas = choose_alpha(best.scores, labels, trials.groups)
    alpha = alpha if bench.options.interpolate else 1.0
    mistakes = best.mistakes(labels, alpha)
    # Without a mistake there is no evidence of how confident is too confident.
    temperature = max(0.0 if mistakes else 1.0, fit_temperature(best.scores[alpha], labels))
    record = {
        "lr": best.lr,
        "epochs": len(best.curve),
        "of_epochs": bench.options.epochs,
        "alpha": alpha,
        "validation_accuracy": 1 - mistakes / len(labels),
        "n_validation": len(labels),
        "cv_accuracy": None,
        "cv_std": None,
        "temperature": temperature,
        "learning_rates": trials.record(),
        "alphas": alphas,
        "curve": best.curve,
    }
    warnings = best.warnings(labels, trials.groups, alpha)
    return record, warnings, (trials.rows, best.scores[alpha] / np.float32(temperature))


def _best_trial(trials: "_Trials", learning_rates: tuple[float, ...]) -> "_Trial":
    """Try learning rates until no difference could be significant; past the ends if the best is there."""
    for lr in learning_rates:
        trial = trials.run(lr)
        if len(learning_rates) == 1 or (trial and trial.mistakes(trials.labels) <= FEW):
            break
    for _ in range(MOST_BEYOND):
        tried = sorted(trials.done)
        best = trials.best()
        if len(tried) < 2 or best.mistakes(trials.labels) <= FEW or best.lr not in (tried[0], tried[-1]):
            break
        step = (tried[1] / tried[0]) if best.lr == tried[0] else (tried[-2] / tried[-1])
        trials.run(float(f"{best.lr / step:.1g}"))
    return trials.best()


@dataclass(frozen=True, eq=False)
class _Trial:
    """The trainings at one learning rate, over all judging folds."""

    lr: float
    curve: list[dict[str, Any]]  # a point for each epoch that all trainings went through
    before_last: NDArray[np.float32] | None  # scores of the held-out images one epoch before the last, (m, c)
    scores: dict[float, NDArray[np.float32]]  # theirs after the last epoch, by alpha

    @property
    def loss(self) -> float:
        return float(self.curve[-1]["validation_loss"])

    def mistakes(self, labels: NDArray[np.int64], alpha: float = 1.0) -> int:
        return int((self.scores[alpha].argmax(axis=1) != labels).sum())

    def warnings(self, labels: NDArray[np.int64], groups: NDArray[Any] | None, alpha: float) -> list[str]:
        start, end = (_losses(self.scores[either], labels) for either in (0.0, 1.0))
        gain = start - end
        if alpha == 0 or gain.mean() <= standard_error(gain, groups):
            result = "the result is that start" if alpha == 0 else "--strategy probe may do as well"
            return [
                f"On {len(labels)} training images that were held out, training is not better than the "
                f"classifier it started from by more than one standard error: {result}."
            ]
        if self.before_last is None or alpha < 1:
            return []
        gain = _losses(self.before_last, labels) - end
        if gain.mean() > 2 * standard_error(gain, groups) > 0:
            return [f"The loss was still falling in the last of {len(self.curve)} epochs: try more --epochs."]
        return []


class _Trials:
    """Trainings at several learning rates, each outside every judging fold."""

    def __init__(self, bench: Bench, checkpoints: Checkpoints, pairs: list[tuple[Rows, Rows]]) -> None:
        self._bench, self._checkpoints, self._pairs = bench, checkpoints, pairs
        self.rows = np.concatenate([rows for _, rows in pairs])
        train = bench.task.train
        self.labels = train.labels[self.rows]
        self.groups = None if train.groups is None else train.groups[self.rows]
        self.done: dict[float, _Trial | None] = {}
        self._diverged: Diverged | None = None
        self._lowest: dict[tuple[int, int], float] = {}  # the lowest loss after each epoch of each fold

    def run(self, lr: float) -> _Trial | None:
        """Train at a learning rate; None if the training diverged or was pruned."""
        self.done[lr] = None
        outcomes: list[Outcome] = []
        parts: list[dict[float, NDArray[np.float32]]] = []
        for fold in range(len(self._pairs)):
            if (found := self._train(lr, fold)) is None:
                return None
            outcomes.append(found[0])
            parts.append(found[1])
        epochs = min(len(outcome.log) for outcome in outcomes)
        self.done[lr] = _Trial(
            lr,
            [self._point(outcomes, epoch) for epoch in range(1, epochs + 1)],
            _together(outcomes, epochs - 1) if epochs > 1 else None,
            {alpha: np.concatenate([part[alpha] for part in parts]) for alpha in parts[0]},
        )
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
            return bool(log[-1]["validation_loss"] > PRUNED * lowest.get((fold, len(log)), math.inf))

        start = self._bench.begin(inner)
        job, name = self._bench.job, f"lr {lr:g}{several}"
        try:
            found = train(job, inner, options, checkpoint, name, validation=held_out, stop=pruned)
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
        end = trained_state(self._bench.job.network)
        scores = {1.0: trained}
        for alpha in ALPHAS[:-1] if self._bench.options.interpolate else (0.0,):
            interpolate(self._bench.job.network, start, end, alpha)
            scores[alpha] = self._bench.scores(held_out)
        return scores

    def _point(self, outcomes: list[Outcome], epoch: int) -> dict[str, Any]:
        """How the folds fared together after an epoch."""
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
