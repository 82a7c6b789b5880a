"""What each position of an image contributes to a score of its features.

Features are layers pooled over height and width. For a score that changes by ``weights`` with the features,
a position's contribution is the product of the layer's output there and the score's derivative by it, summed
over the channels and multiplied by the number of positions:

- Where features are averages of a layer, it is ``weights . A(x, y)``: the class activation map (Zhou et al.
  2016, "Learning deep features for discriminative localization", CVPR). Its mean over the positions is the
  score of a linear classifier, but for the bias: exactly.
- Where they are maxima of a layer, each channel contributes at one position; the mean is exact too.
- Where a network does more than to average its last layer, it is Grad-CAM (Selvaraju et al. 2017, "Grad-CAM:
  visual explanations from deep networks via gradient-based localization", ICCV), an approximation.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PlainMaps", "PositionMaps"]

Array = NDArray[np.floating[Any]]


class PositionMaps(ABC):
    """The layers that some taps pool, for a few images.

    Attributes
    ----------
    features : (n, d) float32 array
        The layers pooled, side by side.
    """

    features: NDArray[np.float32]

    @abstractmethod
    def contributions(self, weights: Array) -> list[NDArray[np.float32]]:
        """Return each position's contribution, (n, h, w) for each tap.

        Parameters
        ----------
        weights : (n, d) array
            How each image's score changes with its features.
        """


class PlainMaps(PositionMaps):
    """Layers of which averages and maxima are taken, and nothing else: without torch.

    Parameters
    ----------
    layers : sequence of (n, c, h, w) arrays
    pools : sequence of str
        ``avg`` or ``max``, one for each layer.
    """

    def __init__(self, layers: Sequence[NDArray[np.float32]], pools: Sequence[str]) -> None:
        self._layers, self._pools = layers, pools
        pooled = [
            layer.mean(axis=(2, 3)) if pool == "avg" else layer.max(axis=(2, 3))
            for layer, pool in zip(layers, pools, strict=True)
        ]
        self._ends = np.cumsum([part.shape[1] for part in pooled])[:-1].tolist()
        self.features = np.concatenate(pooled, axis=1)

    def contributions(self, weights: Array) -> list[NDArray[np.float32]]:
        """Return each position's contribution, (n, h, w) for each tap."""
        parts = np.split(np.asarray(weights, np.float32), self._ends, axis=1)
        return [
            _of_averages(layer, part) if pool == "avg" else _of_maxima(layer, part)
            for layer, part, pool in zip(self._layers, parts, self._pools, strict=True)
        ]


def _of_averages(layer: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    n, channels, height, width = layer.shape
    return np.asarray((weights[:, None] @ layer.reshape(n, channels, -1)).reshape(n, height, width))


def _of_maxima(layer: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    n, channels, height, width = layer.shape
    flat = layer.reshape(n, channels, -1)
    places = flat.argmax(axis=2)
    found = np.zeros((n, height * width), np.float32)
    values = weights * np.take_along_axis(flat, places[:, :, None], axis=2)[:, :, 0]
    np.add.at(found, (np.arange(n)[:, None], places), values)
    return (found * np.float32(height * width)).reshape(n, height, width)
