"""torch: runs every network there is, on the CPU or a GPU."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.bf16 import cuts, least_cut
from zoo.engines.fold import folded
from zoo.engines.graph import Graph
from zoo.engines.machine import machine
from zoo.engines.memory import keep_freed_memory
from zoo.engines.notes import versions
from zoo.engines.readout import Readout
from zoo.engines.rounding import round_kernels

__all__ = ["TorchEngine", "make"]


class TorchEngine:
    """Eager torch with channels-last weights; bf16 through autocast.

    Parameters
    ----------
    graph : Graph
        In evaluation mode; the engine's own, for it is changed.
    fp32_until : str, optional
        The stage after which bf16 begins; empty: from the start; by default all of it is in fp32.
    cosine : float, optional
        Between its features and those of fp32.
    """

    name = "torch"

    def __init__(self, graph: Graph, fp32_until: str | None = None, cosine: float = 1.0) -> None:
        self.precision = "fp32" if fp32_until is None else "bf16"
        self.cosine = cosine
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._from_start = fp32_until == ""
        if self.device.type == "cpu":
            keep_freed_memory()
        # Convolutions over channels-last tensors need no reordering before and after each layer.
        self._graph = graph.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if fp32_until:
            self._graph.network.get_submodule(fp32_until).register_forward_hook(self._begin_bf16)

    def _begin_bf16(self, module: torch.nn.Module, given: Any, output: torch.Tensor) -> None:
        torch.set_autocast_enabled(self.device.type, True)  # until autocast's block below ends

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images, (n, height, width, 3), into features, (n, width)."""
        pixels = torch.from_numpy(batch)
        if self.device.type == "cuda":
            # Page-locked memory, which the GPU reads by itself.
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        # By default cuDNN rounds float32 to TF32's 10 bits.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self._from_start)
        with torch.inference_mode(), exact, autocast:
            features: NDArray[np.float32] = self._graph(pixels).cpu().numpy()
        return features


def make(backbone: Backbone, precision: str, readout: Readout) -> TorchEngine:
    """Make the engine ready for a backbone.

    Raises
    ------
    EngineError
        If a layer's output has another shape than the backbone's description says.
    """
    graph = folded(backbone, readout)
    if precision == "fp32":
        return TorchEngine(graph)
    rounded = copy.deepcopy(graph)
    round_kernels(rounded.network)
    places = ["", *cuts(backbone, readout)]
    number, cosine = least_cut(
        backbone,
        readout,
        {"engine": "torch", **versions("torch", "timm"), "gpu": machine()["gpu"], "bf16": 2},
        lambda: TorchEngine(graph),
        lambda cut: TorchEngine(copy.deepcopy(rounded), places[cut]),
    )
    return TorchEngine(rounded, places[number], cosine)
