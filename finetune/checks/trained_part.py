"""What a probe trains, as the checks of its mathematics need it: the linear classifier on the features."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.checks.contract import Subject
from finetune.heads.linear import LOSSES, Loss, Problems

__all__ = ["MOST", "draw", "in_float64", "loss_of", "objective", "problems_of"]

#: Training images that a check of the mathematics takes; more would tell it nothing.
MOST = 500


def draw(subject: Subject, n: int = MOST) -> NDArray[np.int64]:
    """Draw training images, the classes as evenly as can be.

    Parameters
    ----------
    subject : Subject
    n : int, optional
        How many at most.

    Returns
    -------
    int array
        Rows of ``subject.task.train``, ascending.
    """
    y = subject.task.train.labels
    shuffled = np.random.default_rng(subject.seed).permutation(len(y))
    turn = np.empty(len(y), np.int64)  # how many of an image's class were drawn before it
    for label in np.unique(y):
        members = shuffled[y[shuffled] == label]
        turn[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:n])


def problems_of(subject: Subject, rows: NDArray[np.int64], copies: int = 1) -> Problems:
    """Make the classifier's problem on some training images, or several copies to be solved side by side."""
    train = subject.task.train
    weights = np.ones((copies, len(rows)), np.float32)
    return Problems(train.X[rows], train.labels[rows], weights, len(subject.task.classes))


def loss_of(subject: Subject) -> Loss:
    """Return the loss that the user chose."""
    return LOSSES[subject.options.loss]


def in_float64(problems: Problems) -> Problems:
    """Return the same problem in double precision, computed by the same code.

    Parameters
    ----------
    problems : Problems
        Unchanged.

    Returns
    -------
    Problems
    """
    double = copy.copy(problems)
    for name in ("X", "mean", "scale", "weights"):
        setattr(double, name, getattr(problems, name).astype(np.float64))
    return double


def objective(
    problems: Problems, theta: NDArray[np.float64], l2: float, loss: Loss
) -> tuple[float, NDArray[np.float64]]:
    """Return the objective of a single problem in double precision, and its gradient.

    Parameters
    ----------
    problems : Problems
        As :func:`in_float64` returns.
    theta : (1, k) float64 array
        Parameters.
    l2 : float
        Strength of the penalty.
    loss : callable
        One of :data:`finetune.heads.linear.LOSSES`.

    Returns
    -------
    float, (1, k) float64 array
    """
    double: Any = theta  # the signature is written for float32, the code for either
    value, gradient = problems.objective(double, l2, loss)
    return float(value[0]), np.asarray(gradient, np.float64)
