"""How much of a network must stay float32 for bfloat16 features to be good.

bfloat16 keeps 8 significant bits. Deep in a network the roundings average out; near its input they do
not, for the first depthwise kernels take small differences of large numbers. With EfficientNet-Lite0,
all in bf16, the worst photograph's features had a cosine of 0.986 with those of float32; with kernels
rounded with care (:mod:`zoo.engines.rounding`) 0.997, with its first two stages in float32 as well 0.9992.
Most other networks need no such stage. So they are tried, none first, until the features of some photographs
agree.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.engines.contract import Engine, EngineError
from zoo.engines.notes import recall, remember
from zoo.engines.photographs import photographs
from zoo.engines.readout import Readout

if TYPE_CHECKING:
    from zoo.backbone import Backbone
    from zoo.engines.graph import Graph

__all__ = ["CLOSE", "cuts", "least_cut", "rounded_graph", "worst_cosine"]

#: Cosine with float32 that the worst of our photographs shall reach. Of 2,458 photographs of insects
#: and hands the worst lay twice as far from 1 as the worst of ours, so that 0.999 held for all of them.
CLOSE = 0.9995

# Beyond an eighth of the resolution, float32 would cost more than it gains.
_DEEPEST = 8


def cuts(backbone: "Backbone", readout: Readout) -> list[str]:
    """Return the stages that may stay float32, from the input on.

    Parameters
    ----------
    backbone : Backbone
        Whose stages.
    readout : Readout
        What is read: nothing before the cut may be, for the rest runs on its own.

    Returns
    -------
    list of str
        Names of modules.
    """
    stages = list(backbone.stages)
    firsts = [stages.index(stage) for stage in readout.stages(backbone) if stage]
    reachable = stages[: min(firsts) + 1] if firsts else stages
    return [stage.name for stage in reachable if stage.reduction <= _DEEPEST]


def rounded_graph(backbone: "Backbone", readout: Readout) -> "Graph":
    """Return a backbone's graph with kernels rounded to bfloat16."""
    from zoo.engines.fold import folded
    from zoo.engines.rounding import round_kernels

    graph = folded(backbone, readout)
    round_kernels(graph.network)
    return graph


def least_cut(
    backbone: "Backbone",
    readout: Readout,
    subject: dict[str, Any],
    fp32: Callable[[], Engine],
    reduced: Callable[[int], Engine],
    close: float = CLOSE,
) -> tuple[int, float]:
    """Find how many of `cuts` must stay float32; found once, then remembered.

    Parameters
    ----------
    backbone, readout
        What is computed.
    subject : dict
        What else the finding depends on: the engine and its version, and how it reduces precision.
    fp32 : callable
        Makes the engine in float32.
    reduced : callable
        Makes it in less precision after so many of `cuts` (0: from the start).
    close : float, optional
        The cosine that is enough.

    Returns
    -------
    (int, float)
        The number, and the cosine it reaches; that of the best where none is enough.
    """
    subject = {**backbone.identity, **readout.identity(backbone), **subject}
    note = recall(subject)
    if note is None:
        pixels = photographs(backbone.preprocess)
        wanted = fp32()(pixels)
        note = {"cut": 0, "cosine": -1.0}
        for number in range(len(cuts(backbone, readout)) + 1):
            try:
                got = reduced(number)(pixels)
            except EngineError:
                continue  # This network cannot be divided there.
            cosine = worst_cosine(backbone, readout, got, wanted)
            if cosine > note["cosine"]:
                note = {"cut": number, "cosine": cosine}
            if cosine >= close:
                break
        remember(subject, note)
    return int(note["cut"]), float(note["cosine"])


def worst_cosine(
    backbone: "Backbone", readout: Readout, got: NDArray[np.float32], wanted: NDArray[np.float32]
) -> float:
    """Return the least cosine between rows, in whichever layer it is least."""
    worst = 1.0
    ours, theirs = readout.split(backbone, got), readout.split(backbone, wanted)
    for layer, a in ours.items():
        b = theirs[layer]
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines = np.einsum("ij,ij->i", a, b)[lengths > 0] / lengths[lengths > 0]
        worst = min(worst, float(cosines.min(initial=1.0)))
    return worst
