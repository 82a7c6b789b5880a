"""The last layers: the network's last stages, which are the most specific to ImageNet, and the classifier.

The frozen part runs once, for a few views of each image, and epochs run the trained part only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from finetune.method import Task
from finetune.options import option
from finetune.space import OneOf, Space
from finetune.training.method import NetworkMethod
from finetune.training.settings import INPUT, TRAINING, TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetune.training.bench import Prepared
    from finetune.training.team import Team
    from zoo.backbone import Backbone

__all__ = ["LastLayers", "LastLayersOptions"]


class LastLayersOptions(TrainingOptions):
    """What may be set of the last layers' training."""

    passes, least_epochs, most_epochs = 20_000, 8, 20

    layers: int | None = option(
        None, "Stages that are trained beside the classifier (1).", group=TRAINING, ge=0
    )
    unfreeze: tuple[str, ...] | None = option(
        None,
        "Parameters that are trained instead of --layers, as in a shell: 'blocks.5.*'.",
        group=TRAINING,
        min_length=1,
    )
    num_views: int = option(8, "Augmented views of each image (8).", group=INPUT, ge=1)

    @classmethod
    def search_space(cls, given: Mapping[str, Any]) -> Space:
        """Return the ranges that a search draws from, by option."""
        # Each number of layers needs activations of its own, which take as long as some trials.
        return {**super().search_space(given), "layers": OneOf((1, 2), optional=True)}

    @model_validator(mode="after")
    def _layers_or_names(self) -> Self:
        if self.layers is not None and self.unfreeze:
            raise ValueError("--layers and --unfreeze exclude each other. | Leave out one of them.")
        return self


class LastLayers(NetworkMethod[LastLayersOptions]):
    """The network's last stages are trained beside the classifier."""

    name = "last-layers"
    summary = "the network's last stage too"
    Options = LastLayersOptions

    def trained(self, network: Any, backbone: Backbone) -> set[str]:
        """Return the names of the parameters that are trained."""
        from finetune.training import parts

        classifier = {f"{backbone.classifier}.weight", f"{backbone.classifier}.bias"}
        if self.options.unfreeze:
            return parts.matching(network, self.options.unfreeze) | classifier
        return parts.last_stages(network, self._layers) | classifier

    @property
    def _layers(self) -> int:
        return 1 if self.options.layers is None else self.options.layers

    def prepare(
        self, task: Task, backbone: Backbone, network: Any, options: LastLayersOptions, team: Team
    ) -> Prepared:
        """Divide the network, and compute the frozen part's output or take it from the store."""
        from finetune.training.activations import ViewSpace, activations, front
        from finetune.training.bench import Prepared
        from finetune.training.cut import cut
        from finetune.training.sources import Activations
        from zoo.cache.folders import cache_folder

        size = backbone.preprocess.input_size
        divided = cut(network, size)
        augment = options.augmentation()
        n_views = options.num_views if augment else 1
        before = front(backbone, divided, task.engine, task.precision, task.log)
        spaces = [ViewSpace(before, size, augment, number, task.seed) for number in range(n_views)]
        with team.leader_first():
            views = activations(task.train.paths, spaces, task.checkpoints or cache_folder("features"))
        for part in (network, divided.tail):  # until here, the frozen part ran where it was loaded
            part.to(team.device)
        trained = {"unfreeze": list(options.unfreeze)} if options.unfreeze else {"layers": self._layers}
        source = Activations(views, divided.shape, task.seed)
        return Prepared(divided.tail, source, task.train.last, size, {**trained, "num_views": n_views})
