"""A classifier with a hidden layer, and the slopes of its loss.

``scores = W2 f(W1 x + b1) + b2``, with one of five functions f. A maxout unit (Goodfellow et al. 2013) has
two sets of weights and passes on the larger of its two sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.heads.linear import LOSSES
from finetune.training import initial

__all__ = ["ACTIVATIONS", "MLP", "objective"]

Array = NDArray[np.floating[Any]]

ACTIVATIONS = ("relu", "leaky_relu", "elu", "tanh", "maxout")

#: Slope of leaky_relu below 0.
LEAK = 0.01

#: The arrays' file in a model's folder, and their names.
FILE = "head.safetensors"
_NAMES = ("W1", "b1", "W2", "b2")


@dataclass(frozen=True, eq=False)
class MLP:
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

    activation: str
    W1: Array
    b1: Array
    W2: Array
    b2: Array

    @classmethod
    def new(cls, activation: str, inputs: int, hidden: int, classes: int, seed: int) -> Self:
        """Make one that has learned nothing: He's weights for rectifiers, Xavier's for tanh."""
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
        """How many classes it tells apart."""
        return len(self.b2)

    @property
    def parameters(self) -> list[Array]:
        """What is learned: W1, b1, W2, b2."""
        return [self.W1, self.b1, self.W2, self.b2]

    def having(self, parameters: Sequence[Array]) -> Self:
        """Return the same head with other parameters."""
        return type(self)(self.activation, *parameters)

    def scores(self, X: Array) -> Array:
        """Return the class scores, shape (n, c)."""
        return np.asarray(activate(X @ self.W1.T + self.b1, self.activation) @ self.W2.T + self.b2)

    def behind(self, mean: Array, scale: Array) -> Self:
        """Fold the standardisation ``(x - mean) / scale`` of its inputs in."""
        W1 = (self.W1 / scale).astype(np.float64)
        return replace(self, W1=W1.astype(np.float32), b1=(self.b1 - W1 @ mean).astype(np.float32))

    def cooled(self, temperature: float) -> Self:
        """Divide its scores by a number."""
        T = np.float32(temperature)
        return replace(self, W2=self.W2 / T, b2=self.b2 / T)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the arrays into `folder`, and return what else is needed to :meth:`load` them."""
        from safetensors.numpy import save

        arrays = {
            name: np.ascontiguousarray(array, np.float32)
            for name, array in zip(_NAMES, self.parameters, strict=True)
        }
        (folder / FILE).write_bytes(save(arrays))
        return {"activation": self.activation}

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what :meth:`save` wrote and returned."""
        from safetensors.numpy import load_file

        arrays = load_file(folder / FILE)
        return cls(settings["activation"], *(arrays[name] for name in _NAMES))


def activate(sums: Array, name: str) -> Array:
    """Return a hidden layer's output.

    Parameters
    ----------
    sums : (n, m) array
        What its units added up.
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
    """Return the slope with respect to the sums, (n, m), from that of the output, (n, h)."""
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
        What each row counts.
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
