"""Where in a network features are read.

A *tap* is the network's own last features, or a stage of it pooled over height and width. An engine reads
several taps in one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.backbone import Backbone, Stage
from zoo.errors import ZooError

__all__ = ["LAST", "POOLS", "FeatureTap", "UnknownLayerError", "taps_of"]

#: ``gem`` is the generalised mean of power 3 (Radenović et al. 2018), between ``avg`` and ``max``;
#: ``none`` keeps every position, flattened in the order channel, row, column.
POOLS = ("avg", "max", "gem", "none")


class UnknownLayerError(ZooError):
    """A layer that the backbone does not have, or an unknown pooling."""


@dataclass(frozen=True)
class FeatureTap:
    """A place where features are read.

    Attributes
    ----------
    stage : Stage or None
        The stage; None for the headless network's own output.
    pool : str
        One of `POOLS`: how the stage's output is pooled. The network's own output is not pooled again.
    """

    stage: Stage | None = None
    pool: str = "avg"

    @property
    def identity(self) -> dict[str, Any]:
        """What the features depend on because of it: nothing for the network's own output."""
        return {} if self.stage is None else {"layers": [self.stage.name], "pool": self.pool}

    def width(self, backbone: Backbone) -> int:
        """Return how many numbers it gives for an image."""
        if self.stage is None:
            return backbone.num_features
        if self.pool != "none":
            return self.stage.channels
        # A stride of two keeps the larger half of an odd side, so sides are rounded up.
        height, width = (-(-side // self.stage.reduction) for side in backbone.preprocess.input_size)
        return self.stage.channels * height * width


#: The headless network's own output.
LAST = FeatureTap()


def taps_of(
    backbone: Backbone, features: str | Sequence[str] = "last", pool: str = "avg"
) -> dict[str, FeatureTap]:
    """Return the taps that a user names.

    Parameters
    ----------
    backbone : Backbone
        Whose.
    features : str or sequence of str, optional
        ``last`` for the network's own output; ``stages`` for that and the average and maximum of every stage;
        or stages by name (``blocks.4``) or number (``stages.3``), with a pooling of their own if wanted
        (``blocks.4:max``).
    pool : str, optional
        The pooling of stages that name none.

    Returns
    -------
    dict of str to FeatureTap
        By the names as given, in their order.

    Raises
    ------
    UnknownLayerError
        If the backbone has no such layer, one is named twice, or a pooling is unknown.
    """
    if features == "stages":
        features = ["last", *(f"{stage.name}:{p}" for stage in backbone.stages for p in ("avg", "max"))]
    names = (features,) if isinstance(features, str) else tuple(features)
    if pool != "avg" and not any(name != "last" for name in names):
        raise UnknownLayerError(
            f"Pooling {pool!r} applies to a stage, and none is named.", "Name one: stages.3."
        )
    taps: dict[str, FeatureTap] = {}
    for name in names or ("last",):
        tap = _tap(backbone, name, pool)
        if tap in taps.values():
            raise UnknownLayerError(f"The layer {name!r} is named twice.", "Name it once.")
        taps[name] = tap
    return taps


def _tap(backbone: Backbone, name: str, pool: str) -> FeatureTap:
    layer, _, own = name.partition(":")
    pool = own or pool
    if pool not in POOLS:
        raise UnknownLayerError(f"There is no pooling {pool!r}.", f"Choose from {', '.join(POOLS)}.")
    if layer == "last":
        return LAST
    # Names first: some networks have a module called stages.0 that is not the first stage.
    by_name = {stage.name: stage for stage in backbone.stages}
    known = {f"stages.{place}": stage for place, stage in enumerate(backbone.stages)} | by_name
    if layer in known:
        return FeatureTap(known[layer], pool)
    listed = []
    for place, stage in enumerate(backbone.stages):
        number = f"stages.{place}"
        listed.append(stage.name if number in by_name else f"{stage.name} ({number})")
    raise UnknownLayerError(
        f"{backbone.name} has no layer {layer!r}.", f"Choose from {', '.join([*listed, 'last'])}."
    )
