"""How much of a network must stay float32 for features in bfloat16 or int8 to be good.

bfloat16 keeps 8 significant bits. Deep in a network the roundings average out; near its input they
do not, for the first depthwise kernels take small differences of large numbers. With EfficientNet-Lite0,
all in bf16, the worst photograph's features had a cosine of 0.986 with those of float32; with kernels
rounded as by `round_kernels` 0.997, with its first two stages in float32 as well 0.9992. Most other networks
need no such stage. So they are tried, none first, until the last features of some photographs agree.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.cache.notes import recall, remember
from zoo.engines.contract import Engine, EngineError
from zoo.engines.photographs import photographs
from zoo.engines.taps import LAST, FeatureTap

if TYPE_CHECKING:
    import torch

__all__ = ["CLOSE", "cuts", "least_cut", "measured_cosine", "round_kernels", "worst_cosine"]

#: Cosine with float32 that the worst of our photographs must reach in bf16. Of 2,458 photographs of insects
#: and hands the worst was twice as far from 1 as the worst of ours, so that 0.999 held for all of them.
CLOSE = 0.9995

# Beyond an eighth of the resolution, float32 would cost more than it gains.
_DEEPEST = 8

Taps = Sequence[FeatureTap]


def cuts(backbone: Backbone) -> list[str]:
    """Return the names of the stages that may stay float32, from the input on."""
    return [stage.name for stage in backbone.stages if stage.reduction <= _DEEPEST]


def least_cut(
    backbone: Backbone,
    subject: dict[str, Any],
    made: Callable[[int | None, Taps], Engine],
    close: float = CLOSE,
) -> int:
    """Find how many of `cuts` must stay float32 for a cosine of `close`; found once, then remembered.

    The last features alone decide, so that features do not depend on which other taps are read with them.
    `subject` is what else the finding depends on. `made` makes the engine that reads some taps, in less
    precision after so many of `cuts` (0: from the start; None: nowhere). If no cut is close enough, the best
    is returned.
    """
    subject = {**backbone.identity, **subject, "finding": "cut"}
    note = recall(subject)
    if note is None:
        pixels = photographs(backbone.preprocess)
        expected = made(None, [LAST])(pixels)
        note = {"cut": 0, "cosine": -1.0}
        for number in range(len(cuts(backbone)) + 1):
            try:
                features = made(number, [LAST])(pixels)
            except EngineError:
                continue  # This network cannot be divided there.
            cosine = worst_cosine([features], [expected])
            if cosine > note["cosine"]:
                note = {"cut": number, "cosine": cosine}
            if cosine >= close:
                break
        remember(subject, note)
    return int(note["cut"])


def measured_cosine(
    backbone: Backbone, taps: Taps, subject: dict[str, Any], engine: Engine, fp32: Callable[[], Engine]
) -> float:
    """Return the cosine of an engine's features with float32's, of the worst photograph and tap.

    `fp32` makes the engine that computes the same in float32, if that was not measured before.
    """
    subject = {**backbone.identity, **subject, "finding": "cosine", "taps": [tap.identity for tap in taps]}
    note = recall(subject)
    if note is None:
        pixels = photographs(backbone.preprocess)
        places = np.cumsum([tap.width(backbone) for tap in taps])[:-1].tolist()
        split = (np.split(made(pixels), places, axis=1) for made in (engine, fp32()))
        note = {"cosine": worst_cosine(*split)}
        remember(subject, note)
    return float(note["cosine"])


def worst_cosine(got: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> float:
    """Return the least cosine between rows, in whichever pair of arrays it is least."""
    worst = 1.0
    for a, b in zip(got, expected, strict=True):
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines = np.einsum("ij,ij->i", a, b)[lengths > 0] / lengths[lengths > 0]
        worst = min(worst, float(cosines.min(initial=1.0)))
    return worst


def round_kernels(network: "torch.nn.Module") -> None:
    """Round the weights of convolutions to bfloat16, in place, so that each kernel's sum stays what it was.

    Neighbouring pixels are much alike, so that a kernel's response is mostly its sum times their mean.
    Rounded to nearest, the sum is off by up to nine halves of a last place, for every position and image
    alike; a first depthwise kernel, which takes small differences of large weights, can lose a twentieth of
    its response. So each weight's rounding error is passed on to the next, the largest weights first.

    Parameters
    ----------
    network : Module
        With its batch normalisations folded, for those would change the weights later. Weights stay float32
        tensors.
    """
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            rounded = _rounded(module.weight.flatten(2)).view_as(module.weight)
            module.weight = nn.Parameter(rounded, requires_grad=False)


def _rounded(kernels: "torch.Tensor") -> "torch.Tensor":
    """Round (outputs, inputs, positions), keeping the sum over positions."""
    order = kernels.abs().argsort(dim=2, descending=True)
    weights = kernels.gather(2, order)
    rounded = weights.clone()
    error = weights.new_zeros(weights.shape[:2])
    for place in range(weights.shape[2]):
        exact = weights[..., place] + error
        rounded[..., place] = exact.bfloat16().float()
        error = exact - rounded[..., place]
    return weights.new_empty(kernels.shape).scatter(2, order, rounded)
