"""Mini-batch gradient descent with momentum, for a head with a hidden layer.

As in CS231n's notes: the velocity keeps a share of itself and takes the gradient's step; the learning rate
falls along a half cosine to zero.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.heads.linear import Problems, one_blas_thread, sample_weight
from finetune.heads.mlp import MLP, objective
from zoo.parallel import in_order, threads

__all__ = ["Descent", "Diverged", "descend", "fit_mlp", "fit_mlp_folds", "step"]

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

BATCH_SIZE = 64

#: A loss this many times that of guessing will not come back.
DIVERGED = 5.0


class Diverged(Exception):
    """The loss is not finite any more, or far above that of guessing."""


@dataclass(frozen=True)
class Descent:
    """How a head is trained; docs/search.md has what the defaults were compared with.

    Attributes
    ----------
    activation : str
        One of :data:`finetune.heads.mlp.ACTIVATIONS`.
    hidden : int
        Units of the hidden layer.
    lr : float
        Learning rate at its highest, which is the beginning.
    l2 : float
        Factor of the penalty.
    epochs : int
        Passes over the rows.
    momentum : float
        Share of itself that the velocity keeps.
    loss : str
        One of :data:`finetune.heads.linear.LOSSES`.
    class_weight : str
        As in :func:`finetune.heads.linear.sample_weight`.
    seed : int
        Of the first weights and the rows' order.
    """

    activation: str = "relu"
    hidden: int = 256
    lr: float = 2e-2
    l2: float = 1e-2
    epochs: int = 20
    momentum: float = 0.9
    loss: str = "softmax"
    class_weight: str = "none"
    seed: int = 0


def fit_mlp(
    X: NDArray[np.float32],
    y: Rows,
    n_classes: int,
    rows: Rows,
    held_out: Rows,
    how: Descent,
    stop: Callable[[int, Scores], bool] | None = None,
) -> tuple[MLP, Scores]:
    """Train a head on some rows.

    Parameters
    ----------
    X : (n, d) float32 array
        Features, not standardised.
    y : (n,) int array
        Class indices.
    n_classes : int
        Number of classes.
    rows, held_out : int array
        What to learn from, and what to return scores for.
    how : Descent
    stop : callable, optional
        Given how many epochs are done and the held-out rows' scores, returns whether to stop.

    Returns
    -------
    MLP, (m, c) array
        The head, for features as they come, and the held-out rows' scores.

    Raises
    ------
    Diverged
        If the learning rate is too high.
    """
    inside, labels = X[rows], y[rows]
    # Standardised as for the linear probe, very small deviations floored.
    scale = Problems(inside, labels, np.ones((1, len(rows)), np.float32), n_classes).scale[0]
    mean = inside.mean(axis=0, dtype=np.float64).astype(np.float32)
    head = MLP.new(how.activation, X.shape[1], how.hidden, n_classes, how.seed)
    Z = (X[held_out] - mean) / scale
    weights = sample_weight(labels, how.class_weight).astype(np.float32)
    after = None if stop is None else (lambda epoch, head: stop(epoch, head.decision_function(Z)))
    head = descend(head, (inside - mean) / scale, labels, weights, how, after)
    return head.with_standardisation(mean, scale), np.asarray(head.decision_function(Z))


def fit_mlp_folds(
    X: NDArray[np.float32], y: Rows, n_classes: int, pairs: list[tuple[Rows, Rows]], how: Descent
) -> list[Scores]:
    """Train a head outside each fold, side by side, and return each fold's scores; raises as `fit_mlp`."""

    def one(pair: tuple[Rows, Rows]) -> Scores:
        return fit_mlp(X, y, n_classes, *pair, how)[1]

    with one_blas_thread(), closing(in_order(one, pairs, threads())) as done:
        return list(done)


def descend(
    head: MLP,
    X: NDArray[np.float32],
    y: Rows,
    weights: NDArray[np.float32],
    how: Descent,
    stop: Callable[[int, MLP], bool] | None = None,
) -> MLP:
    """Train a head on standardised features.

    Parameters
    ----------
    head : MLP
        Where to begin.
    X : (n, d) float32 array
        Standardised features.
    y : (n,) int array
        Class indices.
    weights : (n,) float32 array
        Weight of each row.
    how : Descent
    stop : callable, optional
        Given how many epochs are done and the head then, returns whether to stop.

    Raises
    ------
    Diverged
        If the learning rate is too high.
    """
    parameters = [p.copy() for p in head.parameters]
    head = head.with_parameters(parameters)  # updated in place from here on
    velocity = [np.zeros_like(p) for p in parameters]
    updates = max(1, len(y) // BATCH_SIZE)  # a last part of a batch joins the others
    guessing = head.n_classes - 1.0 if how.loss == "hinge" else math.log(head.n_classes)
    bound = DIVERGED * max(1.0, guessing)
    for epoch in range(how.epochs):
        order = np.random.default_rng([how.seed, 3, epoch]).permutation(len(y))
        for i, rows in enumerate(np.array_split(order, updates)):
            done = (epoch * updates + i) / (how.epochs * updates)
            lr = how.lr * (1 + math.cos(math.pi * done)) / 2
            value, gradient = objective(head, X[rows], y[rows], weights[rows], 0.0, how.loss)
            if not value < bound:
                raise Diverged
            step(parameters, velocity, gradient, np.float32(lr), how)
        if stop is not None and stop(epoch + 1, head):
            break
    return head


def step(
    parameters: list[Any], velocity: list[Any], gradient: list[Any], lr: np.float32, how: Descent
) -> None:
    """Update parameters and velocity in place, once."""
    for p, v, g in zip(parameters, velocity, gradient, strict=True):
        if p.ndim == 2:
            g += np.float32(how.l2) * p
        v *= np.float32(how.momentum)
        v -= lr * g
        p += v
