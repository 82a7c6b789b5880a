"""Linear classifiers on features: all folds of a cross-validation solved at once.

A probe's cost is not one fit but dozens: every fold at every value of L2. The folds share nearly
all their rows, so they are solved side by side: scores and gradients of all folds are two large
matrix products over the one feature matrix, a fold being a vector of sample weights (zero for the
rows held out) and a standardisation of its own. L2 goes from large to small, each solution
starting from the one before.

The objective is, for standardised rows ``z_i`` and weights ``w_i``::

    sum_i w_i loss(W z_i + b, y_i) / sum_i w_i  +  l2 / 2 * |W|^2

which with unit weights has scikit-learn's ``LogisticRegression(C=1 / (l2 * n))`` as its optimum.
The bias is not penalised.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.heads.head import Head
from zoo.parallel import threads

__all__ = [
    "LOSSES",
    "Linear",
    "Loss",
    "Problems",
    "hinge",
    "one_blas_thread",
    "sample_weight",
    "softmax_loss",
    "solve",
]

Array = NDArray[np.float32]
Loss = Callable[[Array, NDArray[np.int64]], tuple[Array, Array]]

#: Width of the quadratic piece that rounds the hinge's corner; see :func:`hinge`.
HINGE_ROUNDING = 0.1

#: Deviations are floored at this share of a problem's median one; see :func:`_floored`.
SMALLEST_SCALE = 0.3


def softmax_loss(scores: Array, y: NDArray[np.int64]) -> tuple[Array, Array]:
    """Cross-entropy of the softmax, and its derivative.

    Parameters
    ----------
    scores : (p, c, n) array
        Class scores of `n` rows in `p` problems.
    y : (n,) int array
        Class indices.

    Returns
    -------
    losses : (p, n) array
        ``log sum_j exp(s_j) - s_y``; log c where all scores are equal.
    derivative : (p, c, n) array
        With respect to the scores: softmax minus one-hot.
    """
    rows = np.arange(len(y))
    top = scores.max(axis=1, keepdims=True)
    shifted = scores - top
    right = shifted[:, y, rows]
    exps = np.exp(shifted, out=shifted)
    total = exps.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) - right
    exps /= total
    exps[:, y, rows] -= 1
    return losses, exps


def hinge(scores: Array, y: NDArray[np.int64]) -> tuple[Array, Array]:
    """Multi-class SVM loss, and its derivative.

    The loss of CS231n's notes (Weston & Watkins 1999): ``sum_{j != y} max(0, s_j - s_y + 1)``;
    c - 1 where all scores are equal. The corner at 0 is rounded by a parabola `HINGE_ROUNDING` wide
    (as in Rennie & Srebro 2005), so that a method that learns curvature from gradients can use it; the
    loss differs nowhere by more than an eighth of that width a class.

    Parameters and returned values are those of :func:`softmax_loss`.
    """
    rows = np.arange(len(y))
    half = HINGE_ROUNDING / 2
    beyond = scores - scores[:, y, rows][:, None] + (1 + half)
    beyond[:, y, rows] = 0
    slope = np.clip(beyond / HINGE_ROUNDING, 0, 1)
    # 0, then slope^2 * half, then the straight hinge: value and slope meet at both joints.
    losses = (slope * (beyond - half * slope)).sum(axis=1)
    slope[:, y, rows] = -slope.sum(axis=1)
    return losses, slope


LOSSES: dict[str, Loss] = {"softmax": softmax_loss, "hinge": hinge}


@dataclass(frozen=True, eq=False)
class Linear(Head):
    """Scores ``X @ W.T + b`` on features as they come, standardisation folded in.

    Attributes
    ----------
    W : (c, d) float32 array
    b : (c,) float32 array
    """

    kind = "linear"
    torch_code = 'scores = head["weight"] @ X + head["bias"]'

    W: Array
    b: Array

    @property
    def n_classes(self) -> int:
        """Number of classes, c."""
        return len(self.b)

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return self.W.size + self.b.size

    def decision_function(self, X: Array) -> Array:
        """Return the class scores, (n, c)."""
        return X @ self.W.T + self.b

    def gradient(self, X: Array, classes: NDArray[np.int64]) -> Array:
        """Return each row's weights of its class, minus their mean over the classes: exactly."""
        return np.asarray(self.W[classes] - self.W.mean(axis=0))

    def with_temperature(self, temperature: float) -> "Linear":
        """Return the same classifier with its scores divided by a number."""
        return Linear(self.W / np.float32(temperature), self.b / np.float32(temperature))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights and biases under the names that torch gives them."""
        return {"weight": self.W, "bias": self.b}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> "Linear":
        """Make the classifier again from what :meth:`arrays` returned."""
        return cls(arrays["weight"], arrays["bias"])


def sample_weight(y: NDArray[np.int64], class_weight: str | Sequence[float]) -> NDArray[np.float64]:
    """Return each row's weight: all equal, ``balanced`` as scikit-learn defines it, or that of its class."""
    if not isinstance(class_weight, str):
        return np.asarray(class_weight, np.float64)[y]
    if class_weight != "balanced":
        return np.ones(len(y))
    counts = np.bincount(y)
    return len(y) / (np.count_nonzero(counts) * counts[y])


class Problems:
    """Several weightings of the same rows, each a linear classifier to fit.

    Parameters
    ----------
    X : (n, d) array
        Features, not standardised.
    y : (n,) int array
        Class indices from 0.
    weights : (p, n) array
        One row a problem; 0 leaves a row out of everything: the loss, the mean and the deviation.
    n_classes : int
        Number of classes, `c`.
    """

    def __init__(self, X: Array, y: NDArray[np.int64], weights: Array, n_classes: int) -> None:
        self.y = np.asarray(y, dtype=np.int64)
        self.n_classes = n_classes
        # A common shift, so that float32 products lose nothing to large means. It changes no optimum.
        self._shift = X.mean(axis=0, dtype=np.float64)
        self.X = (X - self._shift).astype(np.float32)
        # A problem's mean and deviation are those of its own rows (weight > 0) alone.
        used = (weights > 0).astype(np.float64)
        count = used.sum(axis=1, keepdims=True)
        mean = used @ self.X / count
        square = used @ np.square(self.X, dtype=np.float64) / count
        self.mean = mean.astype(np.float32)
        self.scale = _floored(np.sqrt(np.maximum(square - mean**2, 0))).astype(np.float32)
        self.weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.weights)

    def start(self) -> Array:
        """Return all-zero parameters, shape (p, c * d + c)."""
        return np.zeros((len(self), self.n_classes * (self.X.shape[1] + 1)), np.float32)

    def _split(self, theta: Array) -> tuple[Array, Array]:
        c = self.n_classes
        return theta[:, :-c].reshape(len(theta), c, -1), theta[:, -c:]

    def scores(self, theta: Array, some: slice = slice(None)) -> Array:
        """Return the scores of every row in every problem (or in `some`), shape (p, c, n)."""
        W, b = self._split(theta)
        U = W / self.scale[some, None]
        offset = b - np.einsum("pcd,pd->pc", U, self.mean[some])
        p, c, d = U.shape
        return (U.reshape(p * c, d) @ self.X.T).reshape(p, c, -1) + offset[:, :, None]

    def objective(
        self, theta: Array, l2: float, loss: Loss, pool: Executor | None = None
    ) -> tuple[NDArray[np.float64], Array]:
        """Return each problem's objective, shape (p,), and gradient, shape (p, c * d + c).

        With a pool, the problems are shared out among the machine's cores.
        """
        if pool is None or len(self) == 1:
            return self._objective(theta, l2, loss, slice(None))
        share = -(-len(self) // threads())
        shares = [slice(start, start + share) for start in range(0, len(self), share)]
        parts = list(pool.map(lambda some: self._objective(theta[some], l2, loss, some), shares))
        return np.concatenate([value for value, _ in parts]), np.concatenate([grad for _, grad in parts])

    def _objective(
        self, theta: Array, l2: float, loss: Loss, some: slice
    ) -> tuple[NDArray[np.float64], Array]:
        losses, slope = loss(self.scores(theta, some), self.y)
        W, _ = self._split(theta)
        value = (losses * self.weights[some]).sum(axis=1, dtype=np.float64)
        value += l2 / 2 * np.einsum("pcd,pcd->p", W, W, dtype=np.float64)
        slope *= self.weights[some, None]
        p, c, n = slope.shape
        total = slope.sum(axis=2)
        grad = (slope.reshape(p * c, n) @ self.X).reshape(p, c, -1)
        grad -= total[:, :, None] * self.mean[some, None]
        grad /= self.scale[some, None]
        grad += np.float32(l2) * W
        return value, np.concatenate([grad.reshape(p, -1), total], axis=1)

    def classifier(self, theta: Array, problem: int = 0) -> Linear:
        """Return one problem's classifier for features as they come.

        Standardising divides by sigma and subtracts mu, which a linear layer can do itself:
        ``W (x - mu) / sigma + b = (W / sigma) x + (b - W mu / sigma)``.
        """
        W, b = self._split(theta)
        mean = self._shift + self.mean[problem]
        U = W[problem] / self.scale[problem].astype(np.float64)
        return Linear(U.astype(np.float32), (b[problem] - U @ mean).astype(np.float32))


def solve(
    problems: Problems,
    l2: float,
    loss: Loss = softmax_loss,
    start: Array | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    memory: int = 12,
) -> Array:
    """Minimise every problem's objective by L-BFGS, side by side.

    Each problem has a step length and a history of its own (Nocedal & Wright 2006, algorithm 7.5,
    with backtracking to the Armijo condition); only the matrix products are shared. A problem is done
    when no entry of its gradient exceeds `tolerance`, scikit-learn's own criterion, or when float32
    cannot lower it further.

    Parameters
    ----------
    problems : Problems
    l2 : float
        Factor of the penalty.
    loss : callable, optional
        One of `LOSSES`.
    start : (p, k) array, optional
        Parameters to start from; zeros by default, where the softmax loss is log c.
    tolerance : float, optional
        Largest gradient entry at which a problem counts as solved.
    max_iterations : int, optional
        Bound on iterations.
    memory : int, optional
        Number of past steps that shape the next.

    Returns
    -------
    (p, k) array
        The parameters, `k` = c * d + c.
    """
    with one_blas_thread(), ThreadPoolExecutor(threads()) as pool:
        return _lbfgs(problems, l2, loss, start, tolerance, max_iterations, memory, pool)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Within, a matrix product is computed by one thread, and whole problems are shared out instead.

    A BLAS thread that waits for another spins, so that on a machine with anything else to do, two take many
    times as long as one. Ours sleep.
    """
    limited: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limited


@lru_cache(maxsize=1)
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _lbfgs(
    problems: Problems,
    l2: float,
    loss: Loss,
    start: Array | None,
    tolerance: float,
    max_iterations: int,
    memory: int,
    pool: Executor,
) -> Array:
    theta = problems.start() if start is None else start.copy()
    value, grad = problems.objective(theta, l2, loss, pool)
    history: deque[tuple[Array, Array, Array]] = deque(maxlen=memory)
    active = np.abs(grad).max(axis=1) > tolerance
    stalls = np.zeros(len(theta), np.int64)
    for _ in range(max_iterations):
        if not active.any():
            break
        direction = _direction(grad, history) * active[:, None]
        step, new_value, new_grad = _line_search(problems, l2, loss, theta, value, grad, direction, pool)
        moved = step[:, None] * direction
        change = new_grad - grad
        history.append((moved, change, np.einsum("pk,pk->p", moved, change)))
        # Float32 sums carry about 1e-7 of noise: a step that gains less may be none, three are none.
        stalls = np.where(value - new_value <= 2e-7 * np.abs(value), stalls + 1, 0)
        theta, value, grad = theta + moved, new_value, new_grad
        active &= (np.abs(grad).max(axis=1) > tolerance) & (stalls < 3)
    return theta


def _direction(grad: Array, history: deque[tuple[Array, Array, Array]]) -> Array:
    """L-BFGS's two-loop recursion, one problem a row."""
    q = -grad
    kept = []
    for s, t, st in reversed(history):
        usable = st > 1e-20
        rho = np.where(usable, 1 / np.where(usable, st, 1), 0).astype(np.float32)
        a = rho * np.einsum("pk,pk->p", s, q)
        q -= a[:, None] * t
        kept.append((s, t, rho, a))
    if history:
        _, t, st = history[-1]
        tt = np.einsum("pk,pk->p", t, t)
        usable = (st > 1e-20) & (tt > 0)
        gamma = np.where(usable, st / np.where(usable, tt, 1), 1)
    else:
        gamma = 1 / np.maximum(np.sqrt(np.einsum("pk,pk->p", grad, grad)), 1e-12)
    q *= gamma[:, None].astype(np.float32)
    for s, t, rho, a in reversed(kept):
        b = rho * np.einsum("pk,pk->p", t, q)
        q += (a - b)[:, None] * s
    return q


def _line_search(
    problems: Problems,
    l2: float,
    loss: Loss,
    theta: Array,
    value: NDArray[np.float64],
    grad: Array,
    direction: Array,
    pool: Executor,
) -> tuple[Array, NDArray[np.float64], Array]:
    """Halve each problem's step until it lowers its objective enough."""
    slope = np.einsum("pk,pk->p", direction, grad)
    step = np.ones(len(theta), np.float32)
    for _ in range(20):
        new_value, new_grad = problems.objective(theta + step[:, None] * direction, l2, loss, pool)
        short = new_value > value + 1e-4 * step * slope + 1e-7 * np.abs(value)
        if not short.any():
            break
        step[short] /= 2
    return step, new_value, new_grad


def _floored(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep deviations, shape (p, d), from being so small that a new image's feature explodes.

    A ReLU feature that fires on one training image has a deviation near 0, and an image on which it
    does fire would be thousands of deviations out. Where all features are constant, 1.
    """
    typical = np.array([[np.median(row[row > 0])] if row.any() else [1.0] for row in scale])
    return np.maximum(scale, SMALLEST_SCALE * typical)
