"""The function that every engine computes: from pixels to features."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.contract import EngineError
from zoo.engines.taps import FeatureTap

__all__ = ["Graph", "evaluate", "outputs_of", "pooled"]


class Graph(torch.nn.Module):
    """A backbone with its normalisation in front and its taps behind.

    Takes a batch of images as they lie in memory, (n, height, width, 3) uint8: a quarter of the bytes of
    normalised float32 images, and an engine can merge the normalisation into the first convolution.

    Parameters
    ----------
    backbone : Backbone
        The network; shared with the graph, not copied.
    taps : sequence of FeatureTap
        What is read, all in one pass.
    cuts : sequence of str, optional
        Stages whose outputs are returned too, as they are, so that an engine can divide the network there.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, backbone: Backbone, taps: Sequence[FeatureTap], cuts: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = backbone.module
        self.taps = tuple(taps)
        self.cuts = tuple(cuts)
        self.widths = [tap.width(backbone) for tap in taps]
        mean = torch.tensor(backbone.preprocess.mean).view(1, 3, 1, 1)
        std = torch.tensor(backbone.preprocess.std).view(1, 3, 1, 1)
        # (x / 255 - mean) / std, as one multiplication and one addition.
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (n, height, width, 3) uint8 pixels into what the network takes, (n, 3, height, width)."""
        # Seen as (n, 3, height, width), pixels that lie (n, height, width, 3) are channels-last
        # already: no copy.
        return pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Turn (n, height, width, 3) uint8 pixels into (n, width) for each tap, and the outputs at `cuts`."""
        images = self.normalised(pixels)
        names = {tap.stage.name for tap in self.taps if tap.stage} | set(self.cuts)
        with outputs_of(self.network, names) as outputs:
            last = self.network(images)
        features = (
            pooled(outputs[tap.stage.name], tap.stage.channels, tap.pool) if tap.stage else last.float()
            for tap in self.taps
        )
        return (*features, *(outputs[name] for name in self.cuts))


@contextmanager
def outputs_of(network: torch.nn.Module, names: set[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of modules while the network runs."""
    outputs: dict[str, torch.Tensor] = {}

    def collect(name: str, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        # A copy, for the next layer may work in place; what is traced has no memory to share.
        outputs[name] = output if torch.jit.is_tracing() or torch.compiler.is_compiling() else output.clone()

    hooks = [
        network.get_submodule(name).register_forward_hook(partial(collect, name)) for name in sorted(names)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def pooled(output: torch.Tensor, channels: int, pool: str) -> torch.Tensor:
    """Pool (n, channels, height, width), or the same with channels last, to (n, d)."""
    maps = output.float()
    if maps.shape[1] != channels and maps.shape[-1] == channels:
        maps = maps.permute(0, 3, 1, 2)
    if pool == "none":
        return maps.flatten(1)
    if pool == "max":
        return maps.amax(dim=(2, 3))
    if pool == "gem":
        return maps.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    return maps.mean(dim=(2, 3))


def evaluate(graph: Graph, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Compute the features of each tap with plain torch, for other engines to be compared with.

    Raises EngineError if a layer's output is not as wide as the backbone's description says.
    """
    with torch.inference_mode(False), torch.no_grad():
        outputs = [output.numpy() for output in graph(torch.from_numpy(pixels))[: len(graph.taps)]]
    for output, width in zip(outputs, graph.widths, strict=True):
        if output.shape[1] != width:
            raise EngineError(
                f"A layer is {output.shape[1]} wide where {width} was expected.",
                "Use another --pool than none.",
            )
    return outputs
