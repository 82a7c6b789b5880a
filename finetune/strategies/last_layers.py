"""The last layers: those of the network that know most of ImageNet's own classes learn ours.

The frozen part runs once, for a few views of each image, and epochs touch the trained part only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from finetune.method import Fitted, Method, Task
from finetune.options import option
from finetune.space import OneOf, Space
from finetune.training.settings import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.backbone import Backbone

__all__ = ["LastLayers", "LastLayersOptions"]


class LastLayersOptions(TrainingOptions):
    """What may be set of the last layers' training."""

    layers: int | None = option(
        None,
        "Stages that learn beside the classifier (1).",
        group="Training the network (last-layers, full)",
        ge=1,
    )
    unfreeze: tuple[str, ...] | None = option(
        None,
        "Parameters that learn instead of --layers, as in a shell: 'blocks.5.*'.",
        group="Training the network (last-layers, full)",
    )
    num_views: int = option(
        8, "Augmented views of each image (8).", group="Input of the training (last-layers, full)", ge=1
    )

    @classmethod
    def search_space(cls, given: Mapping[str, Any]) -> Space:
        """Return the ranges that a search draws from, by option."""
        # Each number of layers needs activations of its own, which take as long as some trials.
        return {**super().search_space(given), "layers": OneOf((1, 2), optional=True)}

    @model_validator(mode="after")
    def _layers_or_names(self) -> Self:
        if self.layers is not None and self.unfreeze:
            raise ValueError("--layers and --unfreeze both say what learns. | Leave out one of them.")
        return self


class LastLayers(Method[LastLayersOptions]):
    """The network's last stages learn beside the classifier."""

    name = "last-layers"
    summary = "the network's last stage too"
    Options = LastLayersOptions
    resumable = True

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Train the last layers."""
        raise NotImplementedError
