"""A probe's head on the features: a linear classifier, or one with a hidden layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from finetune.checks.trainable import Measure, Memorised, Rows, Step, Trainable, draw, norm
from finetune.heads.descent import BATCH_SIZE, Descent, Diverged, fit_mlp, step
from finetune.heads.linear import LOSSES, Problems, one_blas_thread, solve
from finetune.heads.mlp import MLP, activate, objective
from finetune.heads.regularisation import L2_MIN
from finetune.method import Task
from finetune.strategies.probe import Probe

__all__ = ["HeadPart"]

T = TypeVar("T")

#: Training images that are used; more would show nothing else.
IMAGES = 500

#: Passes over the few images that are memorised, each one update.
EPOCHS = 200


class HeadPart(Trainable):
    """A probe's head.

    Parameters
    ----------
    probe : Probe
    task : Task
        All training images, with the network's features.
    """

    def __init__(self, probe: Probe, task: Task) -> None:
        features = "stages" if probe.options.features == "stages" else "last"
        self.images = task.train.reading(features).subset(draw(task.train.labels, IMAGES, task.seed))
        self.seed = task.seed
        self._probe, self._n_classes = probe, len(task.classes)
        self._hidden_layer = probe.options.head == "mlp"
        self._how = how = probe.descent(task.seed, l2=0.0)
        self.lrs = (how.lr,) if self._hidden_layer else ()
        self.lr_given = probe.options.lr is not None
        self.n_updates = how.epochs * max(1, len(task.train) // BATCH_SIZE)
        softmax = probe.options.loss == "softmax"
        self.loss_at_start = math.log(self._n_classes) if softmax else self._n_classes - 1.0

    def memorise(self, rows: Rows) -> Memorised | None:
        """Fit some images; the hidden layer at its usual learning rate."""
        X, y = self.images.X[rows], self.images.labels[rows]
        everything = np.arange(len(rows))
        if self._hidden_layer:
            # The learning rate is this check's own, for another check tells whether the user's is good.
            how = dataclasses.replace(self._how, lr=Descent.lr, momentum=Descent.momentum, epochs=EPOCHS)
            try:
                with one_blas_thread():
                    _, scores = fit_mlp(X, y, self._n_classes, everything, everything, how)
            except Diverged:
                return None
            text = f"in {EPOCHS} updates without regularisation"
        else:
            problem = self._problem(rows)
            scores = problem.scores(solve(problem, L2_MIN, LOSSES[self._probe.options.loss]))[0].T
            text = f"with an L2 of {L2_MIN:g}"
        wrong = rows[scores.argmax(axis=1) != y]
        loss = float(LOSSES[self._probe.options.loss](scores.T[None], y)[0].mean())
        return Memorised(1 - len(wrong) / len(rows), loss, wrong, text)

    def steps(self, rows: Rows, lrs: Sequence[float]) -> Iterator[Step]:
        """Update a new head with a hidden layer."""
        Z, y = self._standardised(rows), self.images.labels[rows]
        weights = np.ones(len(y), np.float32)
        new = self._new()
        parameters = [p.copy() for p in new.parameters]
        velocity = [np.zeros_like(p) for p in parameters]
        for lr in lrs:
            before = [p.copy() for p in parameters]
            with np.errstate(all="ignore"), one_blas_thread():  # a learning rate that is too high is expected
                head = new.with_parameters(parameters)
                loss, gradient = objective(head, Z, y, weights, 0.0, self._how.loss)
                step(parameters, velocity, gradient, np.float32(lr), self._how)
                moved = norm([p - b for p, b in zip(parameters, before, strict=True)])
            if not math.isfinite(loss) or not math.isfinite(moved):
                return
            yield Step(loss, moved / norm(before))

    def layers(self, rows: Rows, measure: Measure[T]) -> list[T]:
        """Measure the hidden layer and the scores of a new head."""
        Z, head = self._standardised(rows), self._new()
        hidden = activate(Z @ head.W1.T + head.b1, head.activation)
        scores = hidden @ head.W2.T + head.b2
        found = [("hidden layer", head.activation, hidden), ("classifier", "scores", scores)]
        return [measure(name, kind, np.asarray(output, np.float32)) for name, kind, output in found]

    def _new(self) -> MLP:
        how = self._how
        return MLP.new(how.activation, self.images.X.shape[1], how.hidden, self._n_classes, how.seed)

    def _problem(self, rows: Rows) -> Problems:
        X, y = self.images.X[rows], self.images.labels[rows]
        return Problems(X, y, np.ones((1, len(rows)), np.float32), self._n_classes)

    def _standardised(self, rows: Rows) -> NDArray[np.float32]:
        """Return features as the hidden layer is given them: standardised by all the images."""
        X = self.images.X
        scale = self._problem(np.arange(len(X))).scale[0]
        return np.asarray((X[rows] - X.mean(axis=0)) / scale)
