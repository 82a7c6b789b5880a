"""Contributions of positions by torch's derivatives: for whatever a network does behind its last layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.graph import Graph, outputs_of, pooled
from zoo.engines.maps import PositionMaps
from zoo.engines.taps import FeatureTap

__all__ = ["TorchMaps"]


class TorchMaps(PositionMaps):
    """The layers that some taps pool, and the pooling as torch computes it.

    Parameters
    ----------
    backbone : Backbone
    taps : sequence of FeatureTap
        What the features consist of, in their order.
    pixels : (n, height, width, 3) uint8 array
        Images as the network expects them; they are run in one batch.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[FeatureTap], pixels: NDArray[np.uint8]) -> None:
        graph = Graph(backbone, taps).eval()
        self._taps, self._network = tuple(taps), graph.network
        names = {tap.stage.name for tap in taps if tap.stage}
        with torch.inference_mode(False), torch.no_grad(), outputs_of(graph.network, names) as outputs:
            forward: Any = graph.network.forward_features
            last = forward(graph.normalised(torch.from_numpy(pixels)))
            self._layers = [outputs[tap.stage.name] if tap.stage else last for tap in taps]
            self.features = torch.cat(self._pooled(self._layers), dim=1).numpy()

    def contributions(self, weights: NDArray[np.floating[Any]]) -> list[NDArray[np.float32]]:
        """Return each position's contribution, (n, h, w) for each tap."""
        with torch.inference_mode(False), torch.enable_grad():
            layers = [layer.clone().requires_grad_() for layer in self._layers]
            score = torch.cat(self._pooled(layers), dim=1) * torch.from_numpy(weights.astype(np.float32))
            slopes = torch.autograd.grad(score.sum(), layers)
        found = []
        for tap, layer, slope in zip(self._taps, self._layers, slopes, strict=True):
            product = (layer * slope).sum(dim=_channels_axis(layer, tap))
            found.append((product * product[0].numel()).numpy())
        return found

    def _pooled(self, layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        head: Any = self._network.forward_head
        return [
            pooled(layer, tap.stage.channels, tap.pool) if tap.stage else head(layer).float()
            for tap, layer in zip(self._taps, layers, strict=True)
        ]


def _channels_axis(layer: torch.Tensor, tap: FeatureTap) -> int:
    """Where a layer's channels are: second, or last where the network works that way."""
    if tap.stage is None:  # the last layer has many more channels than positions a side
        return 1 if layer.shape[1] > layer.shape[3] else 3
    return 1 if layer.shape[1] == tap.stage.channels else 3
