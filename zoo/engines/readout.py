"""Which of a backbone's outputs are read, and how wide the result is.

By default the output of the headless network. Or any of its stages, named as in ``backbone.stages``
(``blocks.4``) or counted from the input (``stages.3``), each pooled over its height and width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.backbone import Backbone, Stage

__all__ = ["FEATURES", "POOLS", "Readout", "UnknownLayerError"]

#: The layer that the headless network's own output is.
FEATURES = "features"

#: ``gem`` is the generalised mean of power 3 (Radenović et al. 2018), between ``avg`` and ``max``;
#: ``none`` keeps every position, flattened in the order channel, row, column.
POOLS = ("avg", "max", "gem", "none")


class UnknownLayerError(ZooError):
    """A layer that the backbone does not have, or a way of pooling that there is not."""


@dataclass(frozen=True)
class Readout:
    """The layers whose outputs are the features, in this order along axis 1.

    Parameters
    ----------
    layers : tuple of str
        Stages by name or as ``stages.N``, or ``features``; empty for ``features`` alone.
    pool : str
        One of `POOLS`. The network's own output is not pooled again.
    """

    layers: tuple[str, ...] = ()
    pool: str = "avg"

    @classmethod
    def of(cls, backbone: "Backbone", layers: str | Iterable[str] = (), pool: str = "avg") -> "Readout":
        """Make a readout of layers that a backbone has.

        Parameters
        ----------
        backbone : Backbone
            Whose layers.
        layers : str or iterable of str, optional
            One layer, or several.
        pool : str, optional
            One of `POOLS`.

        Returns
        -------
        Readout
            With `layers` as they were given.

        Raises
        ------
        UnknownLayerError
            If the backbone has no such layer, one stands there twice, or the pooling is unknown.
        """
        made = cls((layers,) if isinstance(layers, str) else tuple(layers), pool)
        if pool not in POOLS:
            raise UnknownLayerError(f"There is no pooling {pool!r}.", f"Choose one of {', '.join(POOLS)}.")
        if not made.layers and pool != "avg":
            raise UnknownLayerError(
                f"Pooling {pool!r} applies to a layer, and none is named.", "Name one, such as stages.3."
            )
        stages = made.stages(backbone)
        for layer, stage in zip(made.layers, stages, strict=False):
            if stages.count(stage) > 1:
                raise UnknownLayerError(f"The layer {layer!r} is named twice.", "Name it once.")
        return made

    def stages(self, backbone: "Backbone") -> "list[Stage | None]":
        """Return the stage that each layer is; None for the network's own output."""
        return [_stage(backbone, layer) for layer in self.layers or (FEATURES,)]

    def identity(self, backbone: "Backbone") -> dict[str, Any]:
        """What the features depend on because of it: nothing where it is the default."""
        names = [stage.name if stage else FEATURES for stage in self.stages(backbone)]
        return {} if names == [FEATURES] else {"layers": names, "pool": self.pool}

    def widths(self, backbone: "Backbone") -> list[int]:
        """Return how many numbers each layer gives."""
        return [_width(backbone, stage, self.pool) for stage in self.stages(backbone)]

    def split(self, backbone: "Backbone", X: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Cut features apart into those of each layer.

        Parameters
        ----------
        backbone : Backbone
            Whose features.
        X : (n, width) float32 array
            What an engine with this readout gave.

        Returns
        -------
        dict of str to (n, d) float32 array
            By the layers' names as they were given; views, not copies.
        """
        places = np.cumsum(self.widths(backbone))[:-1].tolist()
        return dict(zip(self.layers or (FEATURES,), np.split(X, places, axis=1), strict=True))


def _stage(backbone: "Backbone", layer: str) -> "Stage | None":
    if layer == FEATURES:
        return None
    # Names first: some networks have a module called stages.0 that is not the first stage.
    by_name = {stage.name: stage for stage in backbone.stages}
    known = {f"stages.{place}": stage for place, stage in enumerate(backbone.stages)} | by_name
    if layer in known:
        return known[layer]
    listed = []
    for place, stage in enumerate(backbone.stages):
        number = f"stages.{place}"
        listed.append(stage.name if number in by_name else f"{stage.name} ({number})")
    raise UnknownLayerError(
        f"{backbone.name} has no layer {layer!r}.", f"Choose among {', '.join([*listed, FEATURES])}."
    )


def _width(backbone: "Backbone", stage: "Stage | None", pool: str) -> int:
    if stage is None:
        return backbone.num_features
    if pool != "none":
        return stage.channels
    # A stride of two keeps the larger half of an odd side, so sides are rounded up.
    height, width = (-(-side // stage.reduction) for side in backbone.preprocess.input_size)
    return stage.channels * height * width
