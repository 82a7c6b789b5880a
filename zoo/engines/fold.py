"""A batch normalisation that follows a convolution becomes part of its weights.

In evaluation mode it multiplies each channel by g / sqrt(v + eps) and adds b - m g / sqrt(v + eps); both
can be done to the convolution's weights and bias once and for all, so that one pass over the memory is
saved at every layer. Which normalisation consumes which convolution's output is found out by watching
one batch, for the modules' names and order do not tell.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.backbone import Backbone
from zoo.engines.contract import EngineError
from zoo.engines.graph import Graph, evaluate
from zoo.engines.photographs import photographs
from zoo.engines.taps import FeatureTap

__all__ = ["fold", "folded"]

# Exactly these: subclasses may do more to their weights or outputs (standardise them, say).
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMALISATIONS = (nn.BatchNorm2d, BatchNormAct2d)


def folded(backbone: Backbone, taps: Sequence[FeatureTap]) -> Graph:
    """Return a backbone's graph with its normalisations folded, on a copy of the network.

    Not folded where that would change what it computes. Raises EngineError if a layer's output has another
    shape than the backbone's description says.
    """
    pixels = photographs(backbone.preprocess)[:2]
    plain = copy.deepcopy(Graph(backbone, taps).eval())
    expected = np.concatenate(evaluate(plain, pixels), axis=1)
    graph = copy.deepcopy(plain)
    try:
        fold(graph.network, torch.zeros(1, 3, *backbone.preprocess.input_size))
        got = np.concatenate(evaluate(graph, pixels), axis=1)
    except (RuntimeError, AttributeError, EngineError):
        return plain  # A network that looks into its normalisations itself.
    largest = max(float(np.abs(expected).max()), 1e-12)
    return graph if float(np.abs(got - expected).max()) < 1e-4 * largest else plain


def fold(network: nn.Module, images: torch.Tensor) -> int:
    """Fold batch normalisations into the convolutions before them, in place; return how many.

    `network` is in evaluation mode, `images` a batch that it takes.
    """
    pairs = _pairs(network, images)
    for convolution, (name, normalisation) in pairs:
        _merge(convolution, normalisation)
        # timm's own kind has dropout and the activation within.
        after = [m for m in (getattr(normalisation, "drop", None), getattr(normalisation, "act", None)) if m]
        network.set_submodule(name, nn.Sequential(*after) if after else nn.Identity())
    return len(pairs)


class _Consumers(TorchDispatchMode):
    """Counts how many operations take each of some tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: dict[int, torch.Tensor] = {}  # keeps them alive, so that no identity is used twice
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument in torch.utils._pytree.tree_leaves((args, kwargs)):
            if id(argument) in self.watched:
                self.counts[id(argument)] += 1
        return func(*args, **(kwargs or {}))


def _pairs(network: nn.Module, images: torch.Tensor) -> list[tuple[nn.Conv2d, tuple[str, nn.Module]]]:
    """Find normalisations that alone consume the output of a convolution that ran once."""
    consumers = _Consumers()
    runs: Counter[nn.Module] = Counter()
    makers: dict[int, nn.Conv2d] = {}
    found: list[tuple[int, str, nn.Module]] = []

    def ran(module: Any, given: Any, output: torch.Tensor) -> None:
        runs[module] += 1
        makers[id(output)] = module
        consumers.watched[id(output)] = output

    def normalises(name: str) -> Any:
        def note(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            runs[module] += 1
            if id(given[0]) in makers:
                found.append((id(given[0]), name, module))

        return note

    handles = []
    for name, module in network.named_modules():
        if type(module) in _CONVOLUTIONS:
            handles.append(module.register_forward_hook(ran))
        elif type(module) in _NORMALISATIONS and module.running_var is not None:
            handles.append(module.register_forward_pre_hook(normalises(name)))
    try:
        with torch.no_grad(), consumers:
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (makers[tensor], (name, module))
        for tensor, name, module in found
        if consumers.counts[tensor] == 1 and runs[makers[tensor]] == 1 and runs[module] == 1
    ]


def _merge(convolution: nn.Conv2d, normalisation: Any) -> None:
    # In float64, so that the only rounding is the last one to float32.
    scale = (normalisation.running_var.double() + normalisation.eps).rsqrt()
    shift = -normalisation.running_mean.double() * scale
    if normalisation.affine:
        scale = scale * normalisation.weight.double()
        shift = -normalisation.running_mean.double() * scale + normalisation.bias.double()
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    weight = convolution.weight.double() * scale.view(-1, 1, 1, 1)
    dtype = convolution.weight.dtype
    convolution.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    convolution.bias = nn.Parameter(shift.to(dtype), requires_grad=False)
