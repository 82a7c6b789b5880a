"""How unlike ImageNet's the images are, and what the rule of thumb of CS231n's notes says to train.

CS231n's notes on transfer learning ("When and how to fine-tune?") decide by two things: how many images
there are, and how unlike those of ImageNet they are. Few and like: train a classifier on the features.
Few and unlike: take features from earlier in the network, that is, retrain its last layers. Many: fine-tune.

How unlike is measured by what the features are worth. Each training image in turn is predicted from its five
nearest neighbours by features, and by raw pixels; of the mistakes made with pixels, the features of a network
that knows such images avoid most. The limits are rules of thumb: ants and bees, which ImageNet
has, come to 0.9; hand signs, which it has not, to 0.3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.heads.distances import ranks_within

__all__ = ["Likeness", "images_a_class", "likeness", "rule"]

#: Training images a class from which on last layers, and the whole network, can be trained.
HUNDREDS, THOUSANDS = 100, 1000

#: Share of the pixels' mistakes that features avoid, from which on images count as like ImageNet's.
LIKE = 0.5

NEIGHBOURS = 5


def images_a_class(y: NDArray[np.int64], n_classes: int) -> int:
    """Return how many images the median class has."""
    return int(np.median(np.bincount(y, minlength=n_classes)))


@dataclass(frozen=True)
class Likeness:
    """How well features separate the classes, against raw pixels.

    Attributes
    ----------
    features, pixels : float
        Share of training images that their five nearest neighbours predict correctly.
    """

    features: float
    pixels: float

    @property
    def gain(self) -> float:
        """Share of the mistakes by pixels that features avoid; 1 where neither makes any."""
        if self.pixels == 1:
            return 1.0 if self.features == 1 else 0.0
        return (self.features - self.pixels) / (1 - self.pixels)

    @property
    def like_imagenet(self) -> bool:
        """Whether features are worth as much as on images of ImageNet's kind."""
        return self.gain >= LIKE


def likeness(X: NDArray[np.float32], pixels: NDArray[np.float32], y: NDArray[np.int64]) -> Likeness:
    """Measure how well features, and raw pixels, separate training images.

    Parameters
    ----------
    X : (n, d) array
        Features.
    pixels : (n, e) array
        Raw pixels of the same images.
    y : (n,) int array
        Their classes.
    """
    return Likeness(_left_one_out(X, y), _left_one_out(pixels, y))


def _left_one_out(X: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    right, n_classes = 0, int(y.max()) + 1
    k = min(NEIGHBOURS, len(y) - 1)
    for rows, matrix in ranks_within(X, "cosine"):
        matrix[np.arange(len(rows)), rows] = np.inf  # no image is its own neighbour
        nearest = np.argpartition(matrix, k - 1, axis=1)[:, :k]
        ballots = (y[nearest][:, :, None] == np.arange(n_classes)).sum(axis=1)
        right += int((ballots.argmax(axis=1) == y[rows]).sum())
    return right / len(y)


def rule(images_a_class: int, alike: Likeness) -> tuple[str, str]:
    """Return the strategy that the rule of thumb of CS231n's notes names, and the reason.

    Parameters
    ----------
    images_a_class : int
        Training images of the median class.
    alike : Likeness

    Returns
    -------
    strategy, reason : str
    """
    kind = (
        f"the five nearest neighbours by features predict {alike.features:.0%} of the training images "
        f"correctly, by raw pixels {alike.pixels:.0%}"
    )
    amount = f"{images_a_class} training images a class"
    if images_a_class >= THOUSANDS:
        return "full", f"{amount} are enough to fine-tune the whole network"
    if alike.like_imagenet:
        return "probe", f"the images are like ImageNet's ({kind}), so with {amount} its features can stay"
    few = "few" if images_a_class < HUNDREDS else "enough for its last layers, not for all of it"
    return "last-layers", f"the images are unlike ImageNet's ({kind}), and {amount} are {few}"
