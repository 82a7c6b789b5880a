"""A Gaussian kernel ridge classifier: the head that predicts, and the choice of its width and its L2.

``f(x) = sum_i k(x, x_i) a_i + 1 / c`` with ``k(x, z) = exp(-|x - z|^2 / width)`` on standardised features is
fitted to one column of zeros and ones a class by least squares, with the penalty ``n * l2 * |f|^2``. The
solution has a closed form (Saunders, Gammerman and Vovk 1998, "Ridge regression learning algorithm in dual
variables", ICML). One eigendecomposition a width serves every L2, and the exact prediction of every image by
the classifier that its group was left out of (:mod:`finetune.heads.ridge`); the lowest log loss decides.

Up to `EXACT` images the kernel matrix is computed in full. Beyond, scikit-learn's ``Nystroem`` approximates
it from `LANDMARKS` images drawn at random (Williams and Seeger 2001, "Using the Nyström method to speed up
kernel machines", NIPS 13).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.calibration import fit_temperature, log_softmax
from finetune.heads.distances import ranks
from finetune.heads.head import Head
from finetune.heads.linear import Problems, one_blas_thread, sample_weight
from finetune.heads.ridge import Spectrum, blocks_of
from zoo.parallel import threads
from zoo.progress import progress

__all__ = ["EXACT", "LANDMARKS", "Kernel", "KernelSearch", "Point"]

Array = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

#: Training images up to which the kernel matrix is computed in full, and how many stand for it beyond.
EXACT, LANDMARKS = 10_000, 2_000

#: Widths that are tried, as shares of the median squared distance between training images.
WIDTHS = (0.5, 1.0, 2.0, 4.0)

#: Values of L2 that are tried, from large to small.
L2 = tuple(float(f"{10 ** (-k / 2):.2g}") for k in range(2, 15))

#: Training images up to which several widths are computed at once, each by one thread; beyond, one after the
#: other, for the matrices would fill the memory.
SIDE_BY_SIDE = 4_000

#: Rows that distances are computed for at a time, when predicting.
CHUNK = 1024

#: Rows that the median distance is taken of; it changes little with more.
MEDIAN_OF = 2_000


@dataclass(frozen=True, eq=False)
class Kernel(Head):
    """Weights of a Gaussian kernel's values at some training images.

    Attributes
    ----------
    mean, scale : (d,) float32 arrays
        What features are standardised by.
    centres : (m, d) float32 array
        Standardised features of the training images, or of the landmarks.
    weights : (m, c) float64 array
        Of the kernel's values there.
    width : float
        Squared distance at which the kernel is 1 / e.
    temperature : float
        Divides the scores, so that their softmax is calibrated.
    """

    kind = "kernel"
    torch_code = """z = (X - head["mean"]) / head["scale"]
    squares = (z - head["centres"]).square().sum(1).double()
    weighted = torch.exp(-squares / config["head"]["width"]) @ head["weights"]
    scores = (weighted + 1 / len(weighted)) / config["head"]["temperature"]"""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    centres: NDArray[np.float32]
    weights: NDArray[np.float64]
    width: float
    temperature: float = 1.0

    @property
    def n_classes(self) -> int:
        """Number of classes, c."""
        return self.weights.shape[1]

    @property
    def n_parameters(self) -> int:
        """The weights; the features of the training images are stored, not learned."""
        return self.weights.size

    def decision_function(self, X: Array) -> Array:
        """Return scores, (n, c), whose softmax is the class probabilities."""
        scores = np.empty((len(X), self.n_classes))
        for start in range(0, len(X), CHUNK):
            Z = standardised(X[start : start + CHUNK], self.mean, self.scale)
            scores[start : start + CHUNK] = gaussian(Z, self.centres, self.width) @ self.weights
        return (scores + 1 / self.n_classes) / self.temperature

    def gradient(self, X: Array, classes: Rows) -> Array:
        """Return how each row's score of its class, relative to the mean score, changes with its features."""
        Z = standardised(X, self.mean, self.scale)
        relative = self.weights - self.weights.mean(axis=1, keepdims=True)
        pull = gaussian(Z, self.centres, self.width) * relative.T[classes]
        slopes = (pull @ self.centres - pull.sum(axis=1, keepdims=True) * Z) * (2 / self.width)
        return np.asarray(slopes / self.scale / self.temperature)

    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with its scores divided by a number."""
        return replace(self, temperature=self.temperature * temperature)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the standardisation, the centres and the weights."""
        return {name: getattr(self, name) for name in ("mean", "scale", "centres", "weights")}

    def settings(self) -> dict[str, Any]:
        """Return all that is not an array."""
        return {"width": self.width, "temperature": self.temperature}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Make the head again from what :meth:`arrays` and :meth:`settings` returned."""
        mean, scale, centres, weights = (arrays[k] for k in ("mean", "scale", "centres", "weights"))
        return cls(mean, scale, centres, weights, **settings)


def standardised(X: Array, mean: Array, scale: Array) -> NDArray[np.float32]:
    """Return ``(X - mean) / scale``."""
    return np.asarray((X - mean) / scale, np.float32)


def gaussian(A: Array, B: Array, width: float) -> NDArray[np.float64]:
    """Return ``exp(-|a - b|^2 / width)`` of every two rows, (a, b)."""
    matrix = ranks(A, B, "l2")
    matrix /= -width
    return np.exp(matrix, out=matrix)


class Point(NamedTuple):
    """A width and an L2 with how well they predict images whose group was left out.

    Attributes
    ----------
    width : float
        As a share of the median squared distance.
    l2 : float
    loss : float
        Log loss, at the temperature that makes it lowest.
    accuracy : float
    """

    width: float
    l2: float
    loss: float
    accuracy: float


class _Fit(NamedTuple):
    """A decomposed kernel matrix, and what turns its coefficients into weights of the centres."""

    spectrum: Spectrum
    centres: NDArray[np.float32]
    weights: Callable[[NDArray[np.float64]], NDArray[np.float64]]


class KernelSearch:
    """The loss of every width and L2 on images whose group was left out.

    Standardisation and the median distance are those of all rows given; they know no labels.

    Parameters
    ----------
    X : (n, d) array
        Features.
    y : (n,) int array
        Class indices.
    n_classes : int
        Number of classes.
    groups : (n,) array, optional
        Images of one group are left out together.
    class_weight : str, optional
        ``balanced`` lets every class count the same.
    width, l2 : float, optional
        The only one to try; by default all of `WIDTHS` and `L2`.
    seed : int, optional
        Of the landmarks.

    Attributes
    ----------
    points : list of Point
        All that were tried.
    best : Point
        The one with the lowest loss.
    """

    def __init__(
        self,
        X: Array,
        y: Rows,
        n_classes: int,
        groups: NDArray[Any] | None = None,
        class_weight: str = "none",
        width: float | None = None,
        l2: float | None = None,
        seed: int = 0,
    ) -> None:
        self._y, self._n_classes, self._seed = y, n_classes, seed
        self._mean, self._scale = _standardisation(X, y, n_classes)
        self._Z = standardised(X, self._mean, self._scale)
        self._median = _median_distance(self._Z)
        self._root = np.sqrt(sample_weight(y, class_weight))[:, None]
        self._Y = self._root * (np.eye(n_classes)[y] - 1 / n_classes)
        self._l2 = np.array(L2 if l2 is None else (l2,))
        self._blocks = blocks_of(groups)
        self.points: list[Point] = []
        self.best: Point
        widths = WIDTHS if width is None else (width,)
        with progress("kernel", len(widths), "widths") as advance:
            for points, fit in self._tried(widths):
                best = min(points, key=lambda point: point.loss)
                if not self.points or best.loss < self.best.loss:
                    self.best, self._fit = best, fit
                self.points += points
                advance(1)

    @property
    def exact(self) -> bool:
        """Whether the kernel matrix is computed in full."""
        return len(self._y) <= EXACT

    def curve(self) -> list[Point]:
        """Return every L2 at the best width."""
        return [point for point in self.points if point.width == self.best.width]

    def left_out(self) -> NDArray[np.float64]:
        """Return the best candidate's scores of rows by classifiers without the row's group, (n, c)."""
        return self.out_of_fold(self._blocks)

    def out_of_fold(self, parts: Sequence[Rows]) -> NDArray[np.float64]:
        """Return the best candidate's scores of rows by classifiers fitted without the row's part, (n, c).

        Parameters
        ----------
        parts : sequence of int arrays
            The rows of each fold.
        """
        return self._scores(self._fit.spectrum, np.array([self.best.l2]), parts)[0]

    def head(self) -> Kernel:
        """Fit the best candidate to all rows."""
        spectrum, centres, weights = self._fit
        found = weights(spectrum.coefficients(self._Y, len(self._y) * self.best.l2))
        return Kernel(self._mean, self._scale, centres, found, self.best.width * self._median)

    def _tried(self, widths: Sequence[float]) -> Iterator[tuple[list[Point], _Fit]]:
        """Give out what came of each width, in their order."""
        if len(self._y) > SIDE_BY_SIDE:
            yield from map(self._try, widths)
            return
        with one_blas_thread(), ThreadPoolExecutor(threads()) as pool:
            yield from pool.map(self._try, widths)

    def _try(self, share: float) -> tuple[list[Point], _Fit]:
        fit = self._exact(share) if self.exact else self._approximate(share)
        scores = self._scores(fit.spectrum, self._l2, self._blocks)
        points = [Point(share, l2, *self._judged(s)) for l2, s in zip(self._l2.tolist(), scores, strict=True)]
        return points, fit

    def _scores(
        self, spectrum: Spectrum, l2: NDArray[np.float64], blocks: Sequence[Rows]
    ) -> NDArray[np.float64]:
        predicted = spectrum.left_out(self._Y, len(self._y) * l2, blocks)
        return np.asarray(predicted / self._root + 1 / self._n_classes)

    def _judged(self, scores: NDArray[np.float64]) -> tuple[float, float]:
        rows, y = np.arange(len(scores)), self._y
        loss = -log_softmax(scores / fit_temperature(scores, y))[rows, y].mean()
        return float(loss), float((scores.argmax(axis=1) == y).mean())

    def _exact(self, share: float) -> _Fit:
        K = gaussian(self._Z, self._Z, share * self._median)
        K *= self._root * self._root.T
        s, U = np.linalg.eigh(K)
        return _Fit(Spectrum(U, np.maximum(s, 0)), self._Z, lambda found: self._root * (U @ found))

    def _approximate(self, share: float) -> _Fit:
        from sklearn.kernel_approximation import Nystroem

        drawn = np.sort(np.random.default_rng([self._seed, 3]).permutation(len(self._Z))[:LANDMARKS])
        landmarks = self._Z[drawn].astype(np.float64)
        width = share * self._median
        approximation = Nystroem(gamma=1 / width, n_components=len(drawn), random_state=self._seed)
        approximation.fit(landmarks)
        parts = range(0, len(self._Z), CHUNK)
        F = np.concatenate([approximation.transform(self._Z[p : p + CHUNK].astype(float)) for p in parts])
        F *= self._root
        s, V = np.linalg.eigh(F.T @ F)
        s, V = s[s > 1e-9 * s[-1]], V[:, s > 1e-9 * s[-1]]
        spectrum = Spectrum(F @ (V / np.sqrt(s)), s)
        back = approximation.normalization_.T @ (V * np.sqrt(s))
        return _Fit(spectrum, approximation.components_.astype(np.float32), lambda found: back @ found)


def _standardisation(X: Array, y: Rows, n_classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each feature; small deviations are raised as for a linear classifier."""
    problem = Problems(X, y, np.ones((1, len(y)), np.float32), n_classes)
    return X.mean(axis=0, dtype=np.float64).astype(np.float32), problem.scale[0]


def _median_distance(Z: NDArray[np.float32]) -> float:
    """Median squared distance of two rows; 1 where it is 0."""
    some = Z[:: max(1, len(Z) // MEDIAN_OF)]
    return float(np.median(ranks(some, some, "l2"))) or 1.0
