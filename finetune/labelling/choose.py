"""Which of many images to label: uncertain ones that differ from each other.

An image is uncertain where the two most probable classes are nearly as probable (margin sampling: Scheffer,
Decomain and Wrobel 2001, "Active hidden Markov models for information extraction", IDA). The most uncertain
ones alone are often alike, and to label one of them would have done. So of some more than are wanted, those
are taken that lie far from each other (k-centre greedy: Sener and Savarese 2018, "Active learning for
convolutional neural networks: a core-set approach", ICLR).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["choose", "uncertainty"]

#: Among how many times as many uncertain images those that differ are looked for. Far more
#: teach less, and with as many as are wanted, copies of one image are all taken (benchmarks/label_next.py).
CANDIDATES = 1.5


def uncertainty(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 less the difference between the two largest probabilities of each row, (n,): 1 for a tie.

    Parameters
    ----------
    probabilities : (n, c) array
    """
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return 1 - (two[:, 1] - two[:, 0])


def choose(
    probabilities: NDArray[np.float64], features: NDArray[Any], n: int, candidates: float = CANDIDATES
) -> NDArray[np.int64]:
    """Choose images to label.

    Parameters
    ----------
    probabilities : (m, c) array
        Of the unlabelled images.
    features : (m, d) array
        Of the same images; their cosine says how alike two are.
    n : int
        How many to choose; all, in order, where there are no more.
    candidates : float, optional
        Among how many times as many of the most uncertain ones.

    Returns
    -------
    (n,) int array
        Places of the images. The first is the most uncertain one, and each further one is that which is least
        like those before it.
    """
    order = np.argsort(-uncertainty(probabilities), kind="stable")[: round(candidates * n)]
    x = np.asarray(features[order], np.float32)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    chosen = [0]
    nearest = x @ x[0]
    while len(chosen) < min(n, len(order)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, x @ x[chosen[-1]])
    return order[chosen]
