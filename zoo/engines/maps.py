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

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.graph import Graph, outputs_of, pooled
from zoo.engines.taps import FeatureTap

__all__ = ["PositionMaps"]


class PositionMaps:
    """The layers that some taps pool, for a few images, in one pass of the network.

    Parameters
    ----------
    backbone : Backbone
    taps : sequence of FeatureTap
        What the features consist of, in their order.
    pixels : (n, height, width, 3) uint8 array
        Images as the network expects them.

    Attributes
    ----------
    features : (n, d) float32 array
    """

    def __init__(self, backbone: Backbone, taps: Sequence[FeatureTap], pixels: NDArray[np.uint8]) -> None:
        graph = Graph(backbone, taps).eval()
        self._taps, self._head = tuple(taps), graph.network.forward_head
        names = {tap.stage.name for tap in taps if tap.stage}
        with torch.inference_mode(False), torch.no_grad(), outputs_of(graph.network, names) as outputs:
            last = graph.network.forward_features(graph.normalised(torch.from_numpy(pixels)))
        self._layers = [outputs[tap.stage.name] if tap.stage else last for tap in taps]
        with torch.no_grad():
            self.features: NDArray[np.float32] = torch.cat(self._pooled(self._layers), dim=1).numpy()

    def contributions(self, weights: NDArray[np.floating]) -> list[NDArray[np.float32]]:
        """Return each position's contribution, (n, h, w) for each tap.

        Parameters
        ----------
        weights : (n, d) array
            How each image's score changes with its features.
        """
        with torch.inference_mode(False), torch.enable_grad():
            layers = [layer.detach().requires_grad_() for layer in self._layers]
            score = torch.cat(self._pooled(layers), dim=1) * torch.from_numpy(weights.astype(np.float32))
            slopes = torch.autograd.grad(score.sum(), layers)
        found = []
        for tap, layer, slope in zip(self._taps, self._layers, slopes, strict=True):
            channels = _channels_axis(layer, tap.stage.channels if tap.stage else None)
            product = (layer * slope).sum(dim=channels)
            found.append((product * product[0].numel()).numpy())
        return found

    def _pooled(self, layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [
            pooled(layer, tap.stage.channels, tap.pool) if tap.stage else self._head(layer).float()
            for tap, layer in zip(self._taps, layers, strict=True)
        ]


def _channels_axis(layer: torch.Tensor, channels: int | None) -> int:
    """Where a layer's channels are: second, or last where the network works that way."""
    if channels is None:  # the last layer has many more channels than positions a side
        return 1 if layer.shape[1] > layer.shape[3] else 3
    return 1 if layer.shape[1] == channels else 3
