"""Measures of a classifier on labelled images.

Every function takes class indices or probabilities as NumPy arrays and agrees with the function of the
same name in scikit-learn (a test holds that), but imports nothing beyond NumPy.

Classes without test images are handled as scikit-learn does by default. `balanced_accuracy` is
the mean over the classes that occur in the truth; `macro_f1` is the mean over the classes that occur in
the truth or among the predictions; a precision or recall whose denominator is zero counts as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.evaluation.intervals import wilson

__all__ = [
    "ClassScores",
    "Evaluation",
    "accuracy",
    "balanced_accuracy",
    "calibration_error",
    "confusion_matrix",
    "evaluate",
    "log_loss",
    "macro_f1",
    "per_class",
]


@dataclass(frozen=True)
class ClassScores:
    """How well one class is recognised.

    Attributes
    ----------
    precision : float
        Of the images called this class, the share that is this class; 0 where none was.
    recall : float
        Of the images of this class, the share that was called so; 0 where there is none.
    f1 : float
        Harmonic mean of both.
    support : int
        Test images of this class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """Everything that is reported about one classifier on one set of test images.

    Attributes
    ----------
    n : int
        Number of test images.
    accuracy : float
        Share of them that was called right.
    ci95 : tuple of float
        Wilson's 95% interval of the accuracy, ``(lo, hi)``.
    balanced_accuracy : float
        Mean recall over the classes that have test images.
    macro_f1 : float
        Mean F1 over the classes that occur in the truth or among the predictions.
    log_loss : float
        Mean negative natural logarithm of the probability given to the true class, in nats.
    ece : float
        Expected calibration error with bins of equal mass, between 0 and 1.
    confusion : list of list of int
        ``confusion[t][p]`` test images of class ``t`` were called class ``p``.
    per_class : dict of str to ClassScores
        In the order of the classes.
    """

    n: int
    accuracy: float
    ci95: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    ece: float
    confusion: list[list[int]]
    per_class: dict[str, ClassScores]


def accuracy(y: ArrayLike, predictions: ArrayLike) -> float:
    """Share of predictions that are right.

    Parameters
    ----------
    y, predictions : array of int, shape (n,)
        True and predicted classes, n >= 1.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        Where the arrays are empty or of different length.
    """
    truth, called = _labels(y, predictions)
    return float(np.mean(truth == called))


def confusion_matrix(y: ArrayLike, predictions: ArrayLike, n_classes: int | None = None) -> NDArray[np.int64]:
    """Count how often each class was called each class.

    Parameters
    ----------
    y, predictions : array of int, shape (n,)
        True and predicted classes, n >= 1.
    n_classes : int, optional
        Number of classes; the largest that occurs plus one where not given.

    Returns
    -------
    array of int64, shape (n_classes, n_classes)
        Rows are the truth, columns the predictions.

    Raises
    ------
    ValueError
        Where the arrays are empty, of different length, or hold a class out of range.
    """
    truth, called = _labels(y, predictions)
    highest = int(max(truth.max(), called.max()))
    size = highest + 1 if n_classes is None else n_classes
    if highest >= size:
        raise ValueError(f"class {highest} is out of range for {size} classes")
    return np.bincount(truth * size + called, minlength=size * size).reshape(size, size)


def balanced_accuracy(y: ArrayLike, predictions: ArrayLike) -> float:
    """Mean recall over the classes that occur in `y`.

    Parameters
    ----------
    y, predictions : array of int, shape (n,)
        True and predicted classes, n >= 1.

    Returns
    -------
    float
        Between 0 and 1; one half for a coin on two classes, whatever their sizes.

    Raises
    ------
    ValueError
        Where the arrays are empty or of different length.
    """
    counts = confusion_matrix(y, predictions)
    support = counts.sum(axis=1)
    present = support > 0
    return float(np.mean(np.diag(counts)[present] / support[present]))


def macro_f1(y: ArrayLike, predictions: ArrayLike) -> float:
    """Mean F1 over the classes that occur in `y` or in `predictions`.

    Parameters
    ----------
    y, predictions : array of int, shape (n,)
        True and predicted classes, n >= 1.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        Where the arrays are empty or of different length.
    """
    counts = confusion_matrix(y, predictions)
    # F1 = 2 TP / (2 TP + FP + FN), and that denominator is the class's row sum plus its column sum.
    occurrences = counts.sum(axis=1) + counts.sum(axis=0)
    present = occurrences > 0
    return float(np.mean(2 * np.diag(counts)[present] / occurrences[present]))


def per_class(y: ArrayLike, predictions: ArrayLike, classes: Sequence[str]) -> dict[str, ClassScores]:
    """Precision, recall, F1 and support of every class.

    Parameters
    ----------
    y, predictions : array of int, shape (n,)
        True and predicted classes, n >= 1.
    classes : sequence of str, length k
        Names of all classes, those without test images too.

    Returns
    -------
    dict of str to ClassScores
        In the order of `classes`.

    Raises
    ------
    ValueError
        Where the arrays are empty, of different length, or hold a class out of range.
    """
    counts = confusion_matrix(y, predictions, len(classes))
    hits, support, called = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    precision = _ratio(hits, called)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + called)
    return {
        name: ClassScores(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, name in enumerate(classes)
    }


def log_loss(y: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative natural logarithm of the probability given to the true class.

    Probabilities are clipped to ``[eps, 1 - eps]`` with the float64 machine epsilon, as scikit-learn does,
    so that one confident mistake costs at most 36 nats and not infinity.

    Parameters
    ----------
    y : array of int, shape (n,)
        True classes, n >= 1.
    probabilities : array of float, shape (n, k)
        Rows sum to 1.

    Returns
    -------
    float
        In nats; ``log(k)`` for a classifier that knows nothing.

    Raises
    ------
    ValueError
        Where the shapes disagree, a class is out of range, or a row is no distribution.
    """
    truth, p = _distributions(y, probabilities)
    eps = np.finfo(np.float64).eps
    return float(-np.mean(np.log(np.clip(p[np.arange(len(truth)), truth], eps, 1 - eps))))


def calibration_error(y: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the predicted class, over bins of equal mass.

    Images are sorted by the probability of their predicted class and cut into bins of (nearly) equal number;
    the error is the mean over bins, weighted by size, of ``|share right - mean probability|``.
    Equal mass keeps a bin from holding two images, which with equal widths is the rule, since a good
    classifier is confident nearly everywhere (Nguyen and O'Connor 2015, "Posterior calibration and
    exploratory analysis for natural language processing models", EMNLP, section 3; Nixon et al. 2019,
    "Measuring calibration in deep learning", CVPR workshops). The estimate is biased upwards
    on few images, so a bin never holds fewer than ten of them: below 150 images there are fewer bins.

    Parameters
    ----------
    y : array of int, shape (n,)
        True classes, n >= 1.
    probabilities : array of float, shape (n, k)
        Rows sum to 1.
    bins : int
        The largest number of bins.

    Returns
    -------
    float
        Between 0 and 1; it doesn't depend on the order of the images.

    Raises
    ------
    ValueError
        Where the shapes disagree, a class is out of range, or a row is no distribution.
    """
    truth, p = _distributions(y, probabilities)
    confidence = p.max(axis=1)
    right = (p.argmax(axis=1) == truth).astype(np.float64)
    # Images of equal confidence share their hits evenly; otherwise a bin border inside such a group
    # would make the result depend on which of them happens to come first.
    _, group = np.unique(confidence, return_inverse=True)
    right = (np.bincount(group, weights=right) / np.bincount(group))[group]
    order = np.argsort(confidence, kind="stable")
    n = len(truth)
    gaps = (right - confidence)[order]
    # |sum of gaps in a bin| / n is |share right - mean probability| weighted by the bin's share of n.
    parts = np.array_split(gaps, max(1, min(bins, n // 10)))
    return float(sum(abs(part.sum()) for part in parts) / n)


def evaluate(y: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> Evaluation:
    """Measure a classifier on test images; the predicted class is the most probable one.

    Parameters
    ----------
    y : array of int, shape (n,)
        True classes as indices into `classes`, n >= 1.
    probabilities : array of float, shape (n, k)
        Rows sum to 1. On a tie the first class wins.
    classes : sequence of str, length k
        Class names, all different.

    Returns
    -------
    Evaluation
        All measures, as plain Python numbers.

    Raises
    ------
    ValueError
        Where the shapes disagree, a class is out of range, or a row is no distribution.
    """
    truth, p = _distributions(y, probabilities)
    if p.shape[1] != len(classes):
        raise ValueError(f"{p.shape[1]} columns of probabilities for {len(classes)} classes")
    predictions = p.argmax(axis=1)
    counts = confusion_matrix(truth, predictions, len(classes))
    n, hits = len(truth), int(np.trace(counts))
    return Evaluation(
        n=n,
        accuracy=hits / n,
        ci95=wilson(hits, n),
        balanced_accuracy=balanced_accuracy(truth, predictions),
        macro_f1=macro_f1(truth, predictions),
        log_loss=log_loss(truth, p),
        ece=calibration_error(truth, p),
        confusion=counts.tolist(),
        per_class=per_class(truth, predictions, classes),
    )


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def _labels(y: ArrayLike, predictions: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Check two arrays of class indices."""
    truth, called = np.asarray(y), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != called.shape or len(truth) == 0:
        raise ValueError(
            f"need two non-empty arrays of one length, got shapes {truth.shape} and {called.shape}"
        )
    truth, called = truth.astype(np.int64, casting="safe"), called.astype(np.int64, casting="safe")
    if min(truth.min(), called.min()) < 0:
        raise ValueError("class indices are never negative")
    return truth, called


def _distributions(y: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Check class indices and their rows of probabilities."""
    p = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(y)
    if p.ndim != 2 or truth.shape != p.shape[:1] or len(truth) == 0:
        raise ValueError(f"need y (n,) and probabilities (n, k), n >= 1, got {truth.shape} and {p.shape}")
    truth, _ = _labels(truth, truth)
    if truth.max() >= p.shape[1]:
        raise ValueError(f"class {truth.max()} is out of range for {p.shape[1]} columns")
    # float32 rows of a thousand classes sum to 1 only to about 1e-5; logits mistaken for probabilities don't.
    if not (np.all(p >= 0) and np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-4)):
        raise ValueError("rows of probabilities must be non-negative and sum to 1")
    return truth, p
