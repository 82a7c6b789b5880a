"""Measures of a classifier on labelled images, equal to those of scikit-learn.

They are computed here because importing ``sklearn.metrics`` takes 0.8 s, more than the rest of a run on
stored features; the tests compare each with scikit-learn's. Balanced accuracy is the mean over the classes
that occur in the truth; macro F1 over those that occur in the truth or among the predictions; a precision or
recall whose denominator is zero counts as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.evaluation.intervals import accuracy_interval

__all__ = ["ClassScores", "Evaluation", "SubsetAccuracy", "calibration_error", "evaluate", "log_loss"]


@dataclass(frozen=True)
class ClassScores:
    """How well one class is recognised.

    Attributes
    ----------
    precision : float
        Share of the images predicted as this class that belong to it; 0 where none was.
    recall : float
        Share of the images of this class that were predicted as it; 0 where there is none.
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
class SubsetAccuracy:
    """Accuracy on some of the test images.

    Attributes
    ----------
    n : int
        Their number.
    accuracy : float
    ci95 : tuple of float
        95% interval of the accuracy.
    """

    n: int
    accuracy: float
    ci95: tuple[float, float]

    @classmethod
    def of(cls, correct: NDArray[np.bool_], groups: ArrayLike | None) -> "SubsetAccuracy":
        """Measure it; groups are as for :func:`evaluate`."""
        found = accuracy_interval(correct, groups)
        return cls(len(correct), found.accuracy, found.ci95)


@dataclass(frozen=True)
class Evaluation:
    """Everything that is reported about one classifier on one set of test images.

    Attributes
    ----------
    n : int
        Number of test images.
    accuracy : float
        Share of them whose predicted class is right.
    ci95 : tuple of float
        95% interval of the accuracy, ``(lo, hi)``.
    balanced_accuracy : float
        Mean recall over the classes that have test images.
    macro_f1 : float
        Mean F1 over the classes that occur in the truth or among the predictions.
    log_loss : float
        Mean negative natural logarithm of the probability given to the true class, in nats.
    ece : float
        Expected calibration error with bins of equal mass, between 0 and 1.
    confusion : list of list of int
        ``confusion[t][p]`` test images of class ``t`` were predicted as class ``p``.
    per_class : dict of str to ClassScores
        In the order of the classes.
    ci_method : str
        How `ci95` was computed: see `finetune.evaluation.intervals.AccuracyInterval`.
    n_groups : int or None
        Groups that the test images form; None where every image stands alone.
    n_effective : float or None
        Independent images that would tell as much about the accuracy as these `n`; None without groups.
    without_copies : SubsetAccuracy or None
        The same without test images that have a copy in training; None where there are none.
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
    ci_method: str = "wilson"
    n_groups: int | None = None
    n_effective: float | None = None
    without_copies: SubsetAccuracy | None = None


def evaluate(
    y: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], groups: ArrayLike | None = None
) -> Evaluation:
    """Measure a classifier on test images; the predicted class is the most probable one.

    Parameters
    ----------
    y : array of int, shape (n,)
        True classes as indices into `classes`, n >= 1.
    probabilities : array of float, shape (n, k)
        Rows sum to 1. On a tie the first class wins.
    classes : sequence of str, length k
        Class names, all different.
    groups : array, shape (n,), optional
        Equal values mark images of one thing. The interval of the accuracy then counts groups, not images.

    Returns
    -------
    Evaluation
        All measures, as plain Python numbers.

    Raises
    ------
    ValueError
        Where the shapes disagree, a class is out of range, or a row is no distribution.
    """
    truth, p = _checked(y, probabilities)
    k = p.shape[1]
    if k != len(classes):
        raise ValueError(f"{k} columns of probabilities for {len(classes)} classes")
    predicted = p.argmax(axis=1)
    confusion = np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k)
    right, support, called = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(called, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + called, 1)
    interval = accuracy_interval(truth == predicted, groups)
    return Evaluation(
        n=len(truth),
        accuracy=interval.accuracy,
        ci95=interval.ci95,
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1[support + called > 0].mean()),
        log_loss=log_loss(truth, p),
        ece=calibration_error(truth, p),
        confusion=confusion.tolist(),
        per_class={
            name: ClassScores(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, name in enumerate(classes)
        },
        ci_method=interval.method,
        n_groups=interval.n_groups,
        n_effective=interval.n_effective,
    )


def log_loss(y: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative natural logarithm of the probability given to the true class.

    Probabilities are clipped to the float64 machine epsilon, so that one confident mistake costs at most
    36 nats and not infinity.

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
    truth, p = _checked(y, probabilities)
    given = p[np.arange(len(truth)), truth] / p.sum(axis=1)
    return float(-np.log(np.maximum(given, np.finfo(np.float64).eps)).mean())


def calibration_error(y: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the predicted class, over bins of equal mass.

    Images are sorted by the probability of their predicted class and cut into bins of (nearly) equal number;
    the error is the mean over bins, weighted by size, of ``|accuracy - mean probability|``.
    With bins of equal width most would hold next to no image, since a good classifier is confident nearly
    everywhere (Nguyen and O'Connor 2015, "Posterior calibration and exploratory analysis for natural language
    processing models", EMNLP, section 3; Nixon et al. 2019, "Measuring calibration in deep learning", CVPR
    workshops). The estimate is biased upwards on few images, so a bin never holds fewer than ten of them:
    below 150 images there are fewer bins.

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
    truth, p = _checked(y, probabilities)
    confidence = p.max(axis=1)
    correct = (p.argmax(axis=1) == truth).astype(np.float64)
    # Images of equal confidence share their hits evenly; otherwise a bin border between them would make the
    # result depend on which of them happens to come first.
    _, tie = np.unique(confidence, return_inverse=True)
    correct = (np.bincount(tie, weights=correct) / np.bincount(tie))[tie]
    gaps = (correct - confidence)[np.argsort(confidence, kind="stable")]
    # |sum of gaps in a bin| / n is |accuracy - mean probability| weighted by the bin's share of n.
    parts = np.array_split(gaps, max(1, min(bins, len(gaps) // 10)))
    return float(sum(abs(part.sum()) for part in parts) / len(gaps))


def _checked(y: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Class indices and their rows of probabilities, or a ValueError."""
    truth, p = np.asarray(y), np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or truth.shape != p.shape[:1] or len(truth) == 0:
        raise ValueError(f"need y (n,) and probabilities (n, k), n >= 1, got {truth.shape} and {p.shape}")
    truth = truth.astype(np.int64, casting="safe")
    if truth.min() < 0 or truth.max() >= p.shape[1]:
        raise ValueError(f"classes {truth.min()} to {truth.max()} are out of range for {p.shape[1]} columns")
    # float32 rows of a thousand classes sum to 1 only to about 1e-5; logits mistaken for probabilities don't.
    if not (np.all(p >= 0) and np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-4)):
        raise ValueError("rows of probabilities must be non-negative and sum to 1")
    return truth, p
