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
from zoo.engines.readout import Readout

__all__ = ["Graph", "evaluate"]


class Graph(torch.nn.Module):
    """A backbone with its normalisation in front and its readout behind.

    Takes a batch of images as they lie in memory, (n, height, width, 3) uint8, and gives
    (n, width) float32. A quarter of the bytes of normalised float32 images, and an engine can
    merge the normalisation into the first convolution.

    Parameters
    ----------
    backbone : Backbone
        The network; shared with the graph, not copied.
    layers : sequence of str, optional
        What is read, as in :class:`zoo.engines.readout.Readout`; all of it in one pass.
    pool : str, optional
        How the layers are pooled.

    Attributes
    ----------
    taps : tuple of str
        Stages whose outputs are given too, just as they are, for an engine to divide the network at;
        none to begin with.

    Raises
    ------
    UnknownLayerError
        If the backbone has no such layer.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, backbone: Backbone, layers: Sequence[str] = (), pool: str = "avg") -> None:
        super().__init__()
        self.network = backbone.module
        self.taps: tuple[str, ...] = ()
        self.pool = pool
        readout = Readout.of(backbone, layers, pool)
        self.width = sum(readout.widths(backbone))
        self._read = readout.stages(backbone)
        mean = torch.tensor(backbone.preprocess.mean).view(1, 3, 1, 1)
        std = torch.tensor(backbone.preprocess.std).view(1, 3, 1, 1)
        # (x / 255 - mean) / std, as one multiplication and one addition.
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Compute features.

        Parameters
        ----------
        pixels : (n, height, width, 3) uint8 tensor

        Returns
        -------
        (n, width) float32 tensor
            With `taps`, a tuple of it and of their outputs.
        """
        # Seen as (n, 3, height, width), pixels that lie (n, height, width, 3) are channels-last
        # already: no copy.
        images = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        wanted = [stage.name for stage in self._read if stage]
        with _watching(self.network, {*wanted, *self.taps}) as outputs:
            whole = self.network(images)
        parts = [
            _pooled(outputs[stage.name], stage.channels, self.pool) if stage else whole.float()
            for stage in self._read
        ]
        features = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return (features, *(outputs[name] for name in self.taps)) if self.taps else features


@contextmanager
def _watching(network: torch.nn.Module, names: set[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of modules while the network runs."""
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str, module: torch.nn.Module, given: Any, output: torch.Tensor) -> None:
        # A copy, for the next layer may work in place; what is traced has no memory to share.
        outputs[name] = output if torch.jit.is_tracing() or torch.compiler.is_compiling() else output.clone()

    handles = [
        network.get_submodule(name).register_forward_hook(partial(keep, name)) for name in sorted(names)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _pooled(output: torch.Tensor, channels: int, pool: str) -> torch.Tensor:
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


def evaluate(graph: Graph, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute features with torch as it comes, for others to be compared with.

    Parameters
    ----------
    graph : Graph
        What its taps give is left out.
    pixels : (n, height, width, 3) uint8 array

    Returns
    -------
    (n, width) float32 array

    Raises
    ------
    EngineError
        If a layer's output is not as wide as the backbone's description has it.
    """
    with torch.inference_mode(False), torch.no_grad():
        given = graph(torch.from_numpy(pixels))
    features: NDArray[np.float32] = (given[0] if graph.taps else given).numpy()
    if features.shape[1] != graph.width:
        raise EngineError(
            f"The layers read are {features.shape[1]} wide where {graph.width} was expected.",
            "Use another --pool than none.",
        )
    return features
