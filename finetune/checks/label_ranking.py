"""A ranking of images by how likely their label is wrong, or that they belong to no class at all.

Two scores, in one unit (nats), of which the larger counts:

* ``-ln p``, with p the probability of the image's label by classifiers that were not trained on it. (Ranking
  labels by their out-of-fold probability: Northcutt, Jiang and Chuang 2021, "Confident learning", JAIR 70.)
* The outlier score less `USUAL`: the mean cosine distance to the nearest five images of any class, in robust
  standard deviations from the median over all images. One deviation counts as a nat, as under a distribution
  with an exponential tail.

A placeholder ("image not found") often gets a high probability for its label, since a linear classifier
has to predict some class; only the second score tells. docs/check.md has the measurements behind the
constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.data.split import folds
from finetune.evaluation.calibration import softmax
from finetune.experiment import Experiment
from finetune.method import Task
from finetune.strategies.probe import Probe

__all__ = ["CONFIDENT", "OUTLIER", "RankedImage", "outlier_scores", "rank"]

#: Probability of another class from which a label is likely wrong.
CONFIDENT = 0.9

#: Outlier score from which an image is an outlier.
OUTLIER = 5.0

#: Outlier score that is nothing unusual.
USUAL = 2.0

NEIGHBOURS = 5
_BLOCK = 1024
#: Makes the median absolute deviation of normally distributed numbers their standard deviation.
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class RankedImage:
    """An image in the ranking.

    Attributes
    ----------
    index : int
        Its place in the data set.
    path : str
        As reports show it.
    split : str
        ``train`` or ``test``.
    label, predicted : str
        Its class, and the class that is most probable for it.
    p_label, p_predicted : float
        Their calibrated probabilities, by classifiers that were not trained on the image.
    outlier_score : float
        Its distance from its nearest neighbours, in robust standard deviations.
    score : float
        What the ranking is by.
    """

    index: int
    path: str
    split: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float
    outlier_score: float
    score: float

    @property
    def likely_label_error(self) -> bool:
        """Whether another class is very probable."""
        return self.label != self.predicted and self.p_predicted >= CONFIDENT

    @property
    def outlier(self) -> bool:
        """Whether it is like no other image."""
        return self.outlier_score >= OUTLIER


def rank(experiment: Experiment, splits: NDArray[np.str_]) -> list[RankedImage]:
    """Rank all images, the likeliest label error or outlier first.

    Held-out images are ranked too, since a wrong label there falsifies the result. Nothing that is learned
    here is kept.

    Parameters
    ----------
    experiment : Experiment
    splits : (n,) str array
        ``train`` or ``test``.
    """
    dataset, y = experiment.dataset, experiment.dataset.labels
    X = experiment.matrices[experiment.backbone.name]
    request = experiment.request
    everything = experiment.images(X, np.arange(len(y)))
    dealt = folds(y, request.n_folds, dataset.groups, request.seed)
    scores = Probe().fit(Task(everything, dealt, dataset.classes, request.seed), None).out_of_fold
    assert scores is not None
    P = softmax(scores)
    given, best = P[np.arange(len(y)), y], P.argmax(axis=1)
    outliers = outlier_scores(X, experiment.digests)
    ranked_by = np.maximum(-np.log(np.maximum(given, 1e-12)), outliers - USUAL)
    names = dataset.names
    return [
        RankedImage(
            index=int(i),
            path=names[i],
            split=str(splits[i]),
            label=dataset.classes[y[i]],
            predicted=dataset.classes[best[i]],
            p_label=float(given[i]),
            p_predicted=float(P[i, best[i]]),
            outlier_score=float(outliers[i]),
            score=float(ranked_by[i]),
        )
        for i in np.argsort(-ranked_by, kind="stable")
    ]


def outlier_scores(X: NDArray[np.float32], digests: Sequence[str]) -> NDArray[np.float64]:
    """Compare how far images lie from their nearest five.

    Parameters
    ----------
    X : (n, d) float32 array
        Features.
    digests : sequence of str
        Copies of an image are not its neighbours: ten copies of a placeholder are as far out as one.

    Returns
    -------
    (n,) float64 array
        Robust standard deviations from the median.
    """
    _, first, copy_of = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    Z = X[first] / np.maximum(np.linalg.norm(X[first], axis=1, keepdims=True), 1e-12)
    n, k = len(Z), min(NEIGHBOURS, len(Z) - 1)
    if k < 1:
        return np.zeros(len(X))
    near = np.empty(n)
    for start in range(0, n, _BLOCK):
        cosines = Z[start : start + _BLOCK] @ Z.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        near[start : start + _BLOCK] = np.partition(cosines, n - k, axis=1)[:, n - k :].mean(axis=1)
    distance = 1 - near
    median = np.median(distance)
    spread = _MAD_TO_SD * np.median(np.abs(distance - median))
    return np.asarray((distance - median) / max(float(spread), 1e-6))[copy_of]
