"""The whole network is trained, from the pretrained weights and at a small learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune.method import Task
from finetune.options import option
from finetune.training.method import NetworkMethod
from finetune.training.settings import INPUT, TrainingOptions

if TYPE_CHECKING:
    from finetune.training.bench import Prepared
    from finetune.training.team import Team
    from zoo.backbone import Backbone

__all__ = ["Full", "FullOptions"]


class FullOptions(TrainingOptions):
    """What may be set of the whole network's training."""

    passes, least_epochs, most_epochs, usual_layer_decay = 8_000, 5, 8, 0.9

    img_size: int | None = option(
        None,
        "Pixels a side; by default the network's own, or less where the images are smaller.",
        group=INPUT,
        ge=32,
        le=2048,
    )
    initial_size: int | None = option(
        None,
        "Pixels a side in the first half of the epochs, which are then faster.",
        group=INPUT,
        ge=32,
        le=2048,
    )
    cutmix: float = option(0.0, "Alpha of cutmix; 0 for none (0).", group=INPUT, ge=0, le=100)


class Full(NetworkMethod[FullOptions]):
    """The whole network is trained."""

    name = "full"
    summary = "the whole network"
    Options = FullOptions

    def trained(self, network: Any, backbone: Backbone) -> set[str]:
        """Return the names of the parameters that are trained: all of them."""
        from finetune.training.parts import everything

        return everything(network)

    def prepare(
        self, task: Task, backbone: Backbone, network: Any, options: FullOptions, team: Team
    ) -> Prepared:
        """Read the images."""
        from dataclasses import replace

        from finetune.training.bench import Prepared
        from finetune.training.network import classifier_inputs
        from finetune.training.sources import ImageSource, spare_memory

        network.to(team.device)
        own = backbone.preprocess
        size = own.input_size if options.img_size is None else (options.img_size, options.img_size)
        initial = (0, 0)
        if options.initial_size is not None and options.epochs is not None:
            initial = (options.epochs // 2, options.initial_size)
        augment, preprocess = options.augmentation(), replace(own, input_size=size)
        images = ImageSource(task.train.paths, preprocess, augment, task.seed, spare_memory(), initial)
        if options.img_size is None and (side := images.useful_side()) < min(size):
            size = (side, side)
            images = images.resized(side)
        X = task.train.last
        if size != own.input_size:
            X = classifier_inputs(network, backbone.classifier, images)
        return Prepared(network, images, X, size, {"img_size": list(size)})
