"""torch: runs every network there is, on the CPU or a GPU."""

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.graph import Graph

__all__ = ["TorchEngine", "make"]


class TorchEngine:
    """Eager torch with channels-last weights; bf16 through autocast."""

    name = "torch"

    def __init__(self, backbone: Backbone, precision: str) -> None:
        self.precision = precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Convolutions over channels-last tensors need no reordering before and after each layer.
        graph = Graph(backbone).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._graph = graph.eval()

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images, (n, height, width, 3), into features, (n, num_features)."""
        reduced = (
            torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()
        )
        with torch.inference_mode(), reduced:
            features: NDArray[np.float32] = self._graph(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return features


def make(backbone: Backbone, precision: str) -> TorchEngine:
    """Make the engine ready for a backbone."""
    return TorchEngine(backbone, precision)
