"""Rounding weights to bfloat16 so that a kernel's sum stays what it was.

Neighbouring pixels are much alike, so that a kernel's response is mostly its sum times their mean. Rounded
to nearest, the sum is off by up to nine halves of a last place, for every position and image alike; a
first depthwise kernel, which takes small differences of large weights, can lose a twentieth of its
response. So each weight's rounding error is handed on to the next, the largest weights first: only what the
smallest cannot represent is lost.
"""

import torch
from torch import nn

__all__ = ["round_kernels"]


def round_kernels(network: nn.Module) -> None:
    """Round the weights of convolutions to bfloat16, in place; they stay float32 tensors.

    Parameters
    ----------
    network : Module
        With its batch normalisations folded, for those would change the weights later.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            rounded = _rounded(module.weight.flatten(2)).view_as(module.weight)
            module.weight = nn.Parameter(rounded, requires_grad=False)


def _rounded(kernels: torch.Tensor) -> torch.Tensor:
    """Round (outputs, inputs, positions), keeping the sum over positions."""
    order = kernels.abs().argsort(dim=2, descending=True)
    given = kernels.gather(2, order)
    rounded = torch.empty_like(given)
    error = torch.zeros_like(given[..., 0])
    for place in range(given.shape[2]):
        wanted = given[..., place] + error
        rounded[..., place] = wanted.bfloat16().float()
        error = wanted - rounded[..., place]
    return torch.empty_like(kernels).scatter(2, order, rounded)
