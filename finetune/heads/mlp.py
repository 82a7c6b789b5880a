"""A classifier with a hidden layer, and the gradient of its loss.

``scores = W2 f(W1 x + b1) + b2``, with one of five functions f. A maxout unit (Goodfellow et al. 2013) has
two sets of weights and passes on the larger of its two sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.heads import initial
from finetune.heads.head import Head
from finetune.heads.linear import LOSSES

__all__ = ["ACTIVATIONS", "MLP", "objective"]

Array = NDArray[np.floating[Any]]

ACTIVATIONS = ("relu", "leaky_relu", "elu", "tanh", "maxout")

#: Slope of leaky_relu below 0.
LEAK = 0.01

#: Names of the parameters, in their order.
_NAMES = ("W1", "b1", "W2", "b2")


@dataclass(frozen=True, eq=False)
class MLP(Head):
    """A two-layer classifier on features as they come.

    Attributes
    ----------
    activation : str
        One of `ACTIVATIONS`.
    W1 : (m, d) array
        m is the number of hidden units; for maxout twice that, a unit's two sets side by side.
    b1 : (m,) array
    W2 : (c, h) array
    b2 : (c,) array
    """

    kind = "mlp"

    activation: str
    W1: Array
    b1: Array
    W2: Array
    b2: Array

    @classmethod
    def new(cls, activation: str, inputs: int, hidden: int, classes: int, seed: int) -> Self:
        """Return an untrained one: He's weights for rectifiers, Xavier's for tanh."""
        rng = np.random.default_rng([seed, 2])
        draw = initial.xavier if activation == "tanh" else initial.he
        sums = hidden * (2 if activation == "maxout" else 1)
        return cls(
            activation,
            draw(rng, sums, inputs),
            np.zeros(sums, np.float32),
            initial.output(rng, classes, hidden),
            np.zeros(classes, np.float32),
        )

    @property
    def n_classes(self) -> int:
        """Number of classes, c."""
        return len(self.b2)

    @property
    def n_parameters(self) -> int:
        """Weights and biases of both layers."""
        return sum(p.size for p in self.parameters)

    @property
    def parameters(self) -> list[Array]:
        """What is learned: W1, b1, W2, b2."""
        return [self.W1, self.b1, self.W2, self.b2]

    def with_parameters(self, parameters: Sequence[Array]) -> Self:
        """Return the same head with other parameters."""
        return type(self)(self.activation, *parameters)

    def decision_function(self, X: Array) -> Array:
        """Return the class scores, (n, c)."""
        return np.asarray(activate(X @ self.W1.T + self.b1, self.activation) @ self.W2.T + self.b2)

    def gradient(self, X: Array, classes: NDArray[np.int64]) -> Array:
        """Return how each row's score of its class, relative to the mean score, changes with its features."""
        sums = X @ self.W1.T + self.b1
        slope = back(
            self.W2[classes] - self.W2.mean(axis=0), sums, activate(sums, self.activation), self.activation
        )
        return np.asarray(slope @ self.W1)

    def with_standardisation(self, mean: Array, scale: Array) -> Self:
        """Return a head for features as they come: ``(x - mean) / scale`` folded into the first layer."""
        W1 = (self.W1 / scale).astype(np.float64)
        return replace(self, W1=W1.astype(np.float32), b1=(self.b1 - W1 @ mean).astype(np.float32))

    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with its scores divided by a number."""
        T = np.float32(temperature)
        return replace(self, W2=self.W2 / T, b2=self.b2 / T)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name."""
        return dict(zip(_NAMES, self.parameters, strict=True))

    def settings(self) -> dict[str, Any]:
        """Return the activation's name."""
        return {"activation": self.activation}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Make the head again from what :meth:`arrays` and :meth:`settings` returned."""
        return cls(settings["activation"], *(arrays[name] for name in _NAMES))


def activate(sums: Array, name: str) -> Array:
    """Return a hidden layer's output.

    Parameters
    ----------
    sums : (n, m) array
        The units' weighted sums.
    name : str
        One of `ACTIVATIONS`.

    Returns
    -------
    (n, h) array
    """
    if name == "relu":
        return np.maximum(sums, 0)
    if name == "leaky_relu":
        return np.maximum(sums, LEAK * sums)
    if name == "elu":  # Clevert, Unterthiner and Hochreiter 2016
        return np.where(sums > 0, sums, np.expm1(np.minimum(sums, 0)))
    if name == "tanh":
        return np.tanh(sums)
    return sums.reshape(len(sums), -1, 2).max(axis=2)


def back(slope: Array, sums: Array, output: Array, name: str) -> Array:
    """Return the gradient with respect to the sums, (n, m), from that of the output, (n, h)."""
    if name == "relu":
        return slope * (sums > 0)
    if name == "leaky_relu":
        return np.where(sums > 0, slope, LEAK * slope)
    if name == "elu":
        return slope * np.where(sums > 0, 1, output + 1)
    if name == "tanh":
        return slope * (1 - output**2)
    pairs = sums.reshape(len(sums), -1, 2)
    first = pairs[:, :, 0] >= pairs[:, :, 1]  # a tie goes one way, or it would be counted twice
    return np.stack([slope * first, slope * ~first], axis=2).reshape(sums.shape)


def objective(
    head: MLP, X: Array, y: NDArray[np.int64], weights: Array, l2: float, loss: str = "softmax"
) -> tuple[float, list[Array]]:
    """Return the loss of some rows with its penalty, and the gradient.

    Parameters
    ----------
    head : MLP
    X : (n, d) array
        Standardised features.
    y : (n,) int array
        Class indices.
    weights : (n,) array
        Weight of each row.
    l2 : float
        ``l2 / 2 * (|W1|^2 + |W2|^2)`` is added; biases are not penalised.
    loss : str, optional
        One of :data:`finetune.heads.linear.LOSSES`.

    Returns
    -------
    float, list of arrays
        The gradient in the order of ``head.parameters``.
    """
    sums = X @ head.W1.T + head.b1
    hidden = activate(sums, head.activation)
    scores: Any = (hidden @ head.W2.T + head.b2).T[None]
    losses, slope = LOSSES[loss](scores, y)
    out = slope[0].T * (weights / len(y))[:, None]
    down = back(out @ head.W2, sums, hidden, head.activation)
    value = float((losses[0] * weights).mean())
    value += l2 / 2 * float(np.vdot(head.W1, head.W1) + np.vdot(head.W2, head.W2))
    gradient = [down.T @ X + l2 * head.W1, down.sum(axis=0), out.T @ hidden + l2 * head.W2, out.sum(axis=0)]
    return value, gradient
