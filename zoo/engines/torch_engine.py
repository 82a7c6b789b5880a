"""torch: runs every network there is, on the CPU or a GPU."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.fold import folded
from zoo.engines.graph import Graph
from zoo.engines.machine import machine, versions
from zoo.engines.memory import freed_memory_kept
from zoo.engines.precisions import cuts, least_cut, measured_cosine, round_kernels
from zoo.engines.taps import FeatureTap

__all__ = ["TorchEngine", "make"]


class TorchEngine:
    """Eager torch with channels-last weights; bf16 through autocast.

    Parameters
    ----------
    graph : Graph
        In evaluation mode; the engine's own, for it is changed.
    fp32_until : str, optional
        The stage after which bf16 begins; empty: from the start; by default all of it is in fp32.
    """

    name = "torch"
    cosine = 1.0

    def __init__(self, graph: Graph, fp32_until: str | None = None) -> None:
        self.precision = "fp32" if fp32_until is None else "bf16"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._from_start = fp32_until == ""
        # Convolutions over channels-last tensors need no reordering before and after each layer.
        self._graph = graph.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if fp32_until:
            self._graph.network.get_submodule(fp32_until).register_forward_hook(self._begin_bf16)

    def _begin_bf16(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        torch.set_autocast_enabled(self.device.type, True)  # until autocast's block below ends

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images, (n, height, width, 3), into features, (n, width)."""
        if self.device.type == "cpu":
            with freed_memory_kept():
                return self._run(torch.from_numpy(batch))
        # Page-locked memory, which the GPU reads by itself.
        return self._run(torch.from_numpy(batch).pin_memory().to(self.device, non_blocking=True))

    def _run(self, pixels: torch.Tensor) -> NDArray[np.float32]:
        # By default cuDNN rounds float32 to TF32's 10 bits.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self._from_start)
        with torch.inference_mode(), exact, autocast:
            features: NDArray[np.float32] = torch.cat(self._graph(pixels), dim=1).float().cpu().numpy()
        return features


def make(backbone: Backbone, precision: str, taps: Sequence[FeatureTap]) -> TorchEngine:
    """Make the engine ready for a backbone; raises EngineError if a layer has an unexpected shape."""
    plain = folded(backbone, taps)
    if precision == "fp32":
        return TorchEngine(plain)
    rounded = copy.deepcopy(plain)
    round_kernels(rounded.network)
    places = ["", *cuts(backbone)]

    def made(cut: int | None, read: Sequence[FeatureTap]) -> TorchEngine:
        graph = copy.deepcopy(plain if cut is None else rounded)
        graph.taps = tuple(read)
        return TorchEngine(graph, None if cut is None else places[cut])

    subject = {"engine": "torch", **versions("torch", "timm"), "gpu": machine()["gpu"], "bf16": 2}
    engine = made(least_cut(backbone, subject, made), taps)
    engine.cosine = measured_cosine(backbone, taps, subject, engine, lambda: made(None, taps))
    return engine
