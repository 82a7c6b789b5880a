"""The whole network learns, from the pretrained weights and at a small learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune.method import Fitted, Method, Task
from finetune.options import option
from finetune.training.settings import TrainingOptions

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["Full", "FullOptions"]

_INPUT = "Input of the training (last-layers, full)"


class FullOptions(TrainingOptions):
    """What may be set of the whole network's training."""

    img_size: int | None = option(
        None,
        "Pixels a side; by default the network's own, or less where the images are smaller.",
        group=_INPUT,
        ge=32,
        le=2048,
    )
    initial_size: int | None = option(
        None,
        "Pixels a side in the first half of the epochs, which are then faster.",
        group=_INPUT,
        ge=32,
        le=2048,
    )
    cutmix: float = option(0.0, "Alpha of cutmix; 0 for none (0).", group=_INPUT, ge=0, le=100)


class Full(Method[FullOptions]):
    """The whole network learns."""

    name = "full"
    summary = "the whole network"
    Options = FullOptions
    resumable = True

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Train the whole network."""
        raise NotImplementedError
