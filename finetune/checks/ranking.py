"""Which images look least like their class: wrong labels, and images that are like no class at all.

Two things make an image suspicious, and they are counted in one unit, the nat:

* Classifiers that never saw it give its label a small probability p: ``-ln p``. (Ranking labels by their
  out-of-fold probability: Northcutt, Jiang and Chuang 2021, "Confident learning", JAIR 70.)
* It lies far from every other image, whatever their class: its mean cosine distance to the nearest five,
  counted in robust deviations from the median over all images, less `USUAL`. A deviation counts as a nat,
  as under a distribution with an exponential tail.

The larger of the two is the image's suspicion. A placeholder ("image not found") is often given its label
with confidence, for no better reason than that a linear classifier has to say something; only the second
gives it away. docs/check.md has the measurements behind the constants.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.dataset import Dataset
from finetune.data.plan import plain
from finetune.data.split import folds
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.heads.linear import softmax_loss
from finetune.heads.regularisation import Strengths

__all__ = ["CONFIDENT", "STRANGE", "Suspect", "rank", "strangeness"]

#: Probability of another class from which an image is flagged.
CONFIDENT = 0.9

#: Robust deviations from which an image is flagged as like nothing else.
STRANGE = 5.0

#: Robust deviations that are nothing unusual.
USUAL = 2.0

NEIGHBOURS = 5
_BLOCK = 1024
#: Makes the median absolute deviation of normally distributed numbers their standard deviation.
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Suspect:
    """An image in the list.

    Attributes
    ----------
    place : int
        Its place in the data set.
    path : str
        As reports show it.
    part : str
        ``train`` or ``test``.
    label, looks_like : str
        Its class, and the class that is most probable for it.
    p_label, p_looks_like : float
        Their calibrated probabilities, by classifiers that were not fitted on the image.
    strangeness : float
        How far it lies from its nearest neighbours, in robust deviations.
    suspicion : float
        What the list is sorted by.
    """

    place: int
    path: str
    part: str
    label: str
    looks_like: str
    p_label: float
    p_looks_like: float
    strangeness: float
    suspicion: float

    @property
    def flagged(self) -> bool:
        """Whether a person should look at it."""
        return (self.label != self.looks_like and self.p_looks_like >= CONFIDENT) or (
            self.strangeness >= STRANGE
        )


def rank(
    dataset: Dataset, X: NDArray[np.float32], parts: NDArray[np.str_], digests: list[str], seed: int
) -> list[Suspect]:
    """Rank all images by how little they look like their class.

    Held-out images are ranked too: a wrong label there falsifies the number that all is for. Nothing that
    is learned here is kept.

    Parameters
    ----------
    dataset : Dataset
        Of n images.
    X : (n, d) float32 array
        Their features.
    parts : (n,) str array
        ``train`` or ``test``.
    digests : list of str
        Of the images' bytes.
    seed : int
        Of the folds.

    Returns
    -------
    list of Suspect
        The most suspicious first.
    """
    y = dataset.labels
    P = _out_of_fold(X, y, len(dataset.classes), dataset.groups, seed)
    given = P[np.arange(len(y)), y]
    strange = strangeness(X, digests)
    suspicion = np.maximum(-np.log(np.maximum(given, 1e-12)), strange - USUAL)
    best = P.argmax(axis=1)
    names = dataset.names
    return [
        Suspect(
            place=int(i),
            path=names[i],
            part=str(parts[i]),
            label=dataset.classes[y[i]],
            looks_like=dataset.classes[best[i]],
            p_label=float(given[i]),
            p_looks_like=float(P[i, best[i]]),
            strangeness=float(strange[i]),
            suspicion=float(suspicion[i]),
        )
        for i in np.argsort(-suspicion, kind="stable")
    ]


def strangeness(X: NDArray[np.float32], digests: list[str]) -> NDArray[np.float64]:
    """Say how far each image lies from its nearest five, compared with the others.

    Parameters
    ----------
    X : (n, d) float32 array
        Features.
    digests : list of str
        Copies of an image are no neighbours of it: ten copies of a placeholder are as strange as one.

    Returns
    -------
    (n,) float64 array
        Robust deviations from the median.
    """
    _, first, copy_of = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    Z = X[first] / np.maximum(np.linalg.norm(X[first], axis=1, keepdims=True), 1e-12)
    n, k = len(Z), min(NEIGHBOURS, len(Z) - 1)
    if k < 1:
        return np.zeros(len(X))
    near = np.empty(n)
    for start in range(0, n, _BLOCK):
        likeness = Z[start : start + _BLOCK] @ Z.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -np.inf
        near[start : start + _BLOCK] = np.partition(likeness, n - k, axis=1)[:, n - k :].mean(axis=1)
    distance = 1 - near
    median = np.median(distance)
    spread = _MAD_TO_SD * np.median(np.abs(distance - median))
    return np.asarray((distance - median) / max(float(spread), 1e-6))[copy_of]


def _out_of_fold(
    X: NDArray[np.float32], y: NDArray[np.int64], n_classes: int, groups: NDArray[Any] | None, seed: int
) -> NDArray[np.float64]:
    """Calibrated probabilities of every image, by classifiers that were not fitted on it."""
    plan = plain(folds(y, groups=groups, seed=seed))
    search = Strengths(
        X,
        y,
        plan,
        n_classes,
        softmax_loss,
        judge=lambda scores, truth: float(softmax_loss(scores.T[None], truth)[0].mean()),
    )
    search.walk()
    scores = search.best().held_out[0]
    P = np.empty((len(y), n_classes))
    P[plan.order(0)] = softmax(scores / fit_temperature(scores, y[plan.order(0)]))
    return P
