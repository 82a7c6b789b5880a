"""A training whose learning rate and alpha are chosen: what is left is to train on all images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.calibration import fit_temperature
from finetune.training.bench import Bench
from finetune.training.checkpoint import Checkpoint, Checkpoints
from finetune.training.fitted import FittedNetwork
from finetune.training.interpolation import interpolate, trained_state
from finetune.training.loop import Outcome, train
from finetune.training.sources import Rows

__all__ = ["Chosen"]


@dataclass(eq=False)
class Chosen:
    """A training whose learning rate and alpha are chosen.

    Attributes
    ----------
    bench : Bench
        What is trained.
    checkpoints : Checkpoints
    choice : dict
        As for ``run.json``.
    warnings : list of str
        What the user should know.
    validation : (rows, scores)
        The images that the choice was made on, and their calibrated scores, (m, c).
    out_of_fold : (n, c) array or None
        Calibrated scores of all training images by trainings without their fold, once cross-validated.
    """

    bench: Bench
    checkpoints: Checkpoints
    choice: dict[str, Any]
    warnings: list[str]
    validation: tuple[Rows, NDArray[np.float32]]
    out_of_fold: NDArray[np.float32] | None = None

    def cross_validate(self) -> None:
        """Train outside each fold that the choice was not made on, with what was chosen.

        Afterwards the choice holds ``cv_accuracy``, ``cv_std`` and ``cv_folds``, and the temperature is that
        of all out-of-fold scores.
        """
        task, T = self.bench.task, self.choice["temperature"]
        labels, pairs = task.train.labels, task.folds.pairs
        rows, known = self.validation
        scores = np.empty((len(labels), known.shape[1]), np.float32)
        scores[rows] = known * np.float32(T)
        for fold, (inner, held_out) in enumerate(pairs):
            if not np.isin(held_out, rows).all():
                self._train(inner, f"cv-{fold}", f"fold {fold + 1} of {len(pairs)}")
                scores[held_out] = self.bench.scores(held_out)
        correct = scores.argmax(axis=1) == labels
        accuracies = [correct[held_out].mean() for _, held_out in pairs]
        T = max(0.0 if not correct.all() else 1.0, fit_temperature(scores, labels))
        self.choice |= {
            "cv_accuracy": float(np.mean(accuracies)),
            "cv_std": float(np.std(accuracies)),
            "cv_folds": task.folds.n_folds,
            "temperature": T,
        }
        self.out_of_fold = scores / np.float32(T)

    def fit(self) -> FittedNetwork:
        """Train on all training images."""
        everything = np.arange(len(self.bench.task.train))
        log = self._train(everything, "final", "training").log
        fitted = self.bench.fitted(self.choice, log, self.warnings)
        fitted.validation = self.validation
        fitted.out_of_fold = self.out_of_fold
        return fitted

    def _train(self, rows: Rows, checkpoint: str, name: str) -> Outcome:
        """Train on some rows with what was chosen, and interpolate with the start."""
        lr, epochs, alpha = (self.choice[key] for key in ("lr", "epochs", "alpha"))
        start = self.bench.begin(rows)
        if alpha == 0:
            return Outcome()
        options = self.bench.options.model_copy(update={"lr": lr})
        place: Checkpoint = self.checkpoints.named(checkpoint)
        outcome = train(self.bench.job, rows, options, place, name, until=epochs)
        network = self.bench.job.network
        interpolate(network, start, trained_state(network), alpha)
        return outcome
