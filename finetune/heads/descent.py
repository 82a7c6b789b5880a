"""Mini-batch gradient descent with momentum, for heads that no solver finds the optimum of.

As in CS231n's notes: the velocity keeps a share of itself and takes the gradient's step; the rate falls along
a half cosine to zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.heads.mlp import MLP, objective

__all__ = ["BATCH", "Descent", "Lost", "descend"]

BATCH = 64

#: A loss so many times that of guessing will not come back.
LOST = 5.0


class Lost(Exception):
    """A loss that is no number any more, or far above that of guessing."""


@dataclass(frozen=True)
class Descent:
    """How a head learns.

    Attributes
    ----------
    rate : float
        At its highest, which is the beginning.
    l2 : float
        Strength of the penalty.
    epochs : int
        Passes over the rows.
    momentum : float
        Share of itself that the velocity keeps.
    loss : str
        One of :data:`finetune.heads.linear.LOSSES`.
    seed : int
        Of the rows' order.
    """

    rate: float
    l2: float
    epochs: int
    momentum: float = 0.9
    loss: str = "softmax"
    seed: int = field(default=0, kw_only=True)


def descend(
    head: MLP,
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    weights: NDArray[np.float32],
    how: Descent,
    enough: Callable[[int, MLP], bool] = lambda epoch, head: False,
) -> MLP:
    """Train a head.

    Parameters
    ----------
    head : MLP
        Where to begin.
    X : (n, d) float32 array
        Standardised features.
    y : (n,) int array
        Class indices.
    weights : (n,) float32 array
        What each row counts.
    how : Descent
    enough : callable, optional
        Given how many epochs are done and the head then, says whether to stop.

    Returns
    -------
    MLP

    Raises
    ------
    Lost
        If the loss is lost: the rate is too high.
    """
    parameters = [p.copy() for p in head.parameters]
    head = head.having(parameters)  # updated in place from here on
    velocity = [np.zeros_like(p) for p in parameters]
    updates = max(1, len(y) // BATCH)  # a last part of a batch joins the others
    bound = LOST * max(1.0, math.log(head.n_classes))
    for epoch in range(how.epochs):
        order = np.random.default_rng([how.seed, 3, epoch]).permutation(len(y))
        for i, rows in enumerate(np.array_split(order, updates)):
            done = (epoch * updates + i) / (how.epochs * updates)
            rate = how.rate * (1 + math.cos(math.pi * done)) / 2
            value, gradient = objective(head, X[rows], y[rows], weights[rows], 0.0, how.loss)
            if not value < bound * _first(how.loss, head.n_classes):
                raise Lost
            _step(parameters, velocity, gradient, np.float32(rate), how)
        if enough(epoch + 1, head):
            break
    return head


def _first(loss: str, classes: int) -> float:
    """How much larger a loss is than the softmax's where nothing is known."""
    return (classes - 1) / math.log(classes) if loss == "hinge" else 1.0


def _step(
    parameters: list[Any], velocity: list[Any], gradient: list[Any], rate: np.float32, how: Descent
) -> None:
    for p, v, g in zip(parameters, velocity, gradient, strict=True):
        if p.ndim == 2:
            g += np.float32(how.l2) * p
        v *= np.float32(how.momentum)
        v -= rate * g
        p += v
