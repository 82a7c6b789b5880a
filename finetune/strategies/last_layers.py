"""The last layers: those of the network that know most of ImageNet's own classes learn ours.

The frozen part runs once, for a few views of each picture, and epochs touch the trained part only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.errors import OptionError
from finetune.method import Task
from finetune.strategies.full import SMALL, Prepared, finished
from finetune.training import parts
from finetune.training.activations import ViewSpace, activations, front, most_views
from finetune.training.cut import cut
from finetune.training.memory import spare_memory
from finetune.training.network import build
from finetune.training.procedure import Finetuned, finetune
from finetune.training.settings import Defaults, Settings
from finetune.training.sources import Activations
from finetune.training.team import Team
from zoo.backbone import Backbone
from zoo.engines.memory import freed_memory_kept

__all__ = ["Options", "defaults", "fit", "prepare", "trained"]

#: Whether a training that is stopped can be gone on with.
RESUMABLE = True


@dataclass(frozen=True)
class Options(Settings):
    """What a user may set, besides :class:`finetune.training.settings.Settings`.

    Attributes
    ----------
    layers : int
        How many of the network's stages learn, beside the head.
    unfreeze : sequence of str
        Patterns of parameters that learn instead, as in a shell.
    views : int
        Views of each picture that are computed; the first is the picture itself.
    """

    layers: int = 1
    unfreeze: Sequence[str] = ()
    views: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views < 1:
            raise OptionError(f"{self.views} views are none.", "Give --views a number from 1 upwards.")
        if self.cutmix:
            raise OptionError(
                "last-layers has no pictures to cut from: it trains on what the frozen part made of them.",
                "Leave out --cutmix, or use --mixup or --strategy full.",
            )


@freed_memory_kept()
def fit(task: Task, backbone: Backbone, options: Options) -> Finetuned:
    """Train the last layers.

    Parameters
    ----------
    task : Task
        Training images with their features.
    backbone : Backbone
        What the network is before.
    options : Options

    Returns
    -------
    Finetuned

    Raises
    ------
    OptionError
        If the network has not that many stages, or a pattern matches nothing.
    TrainingError
        If the training comes to nothing.
    """
    team = Team()
    ready = prepare(task, backbone, options, team)
    plan = options.plan(defaults(len(task.train)))
    found = finetune(task, backbone, ready.network, ready.tail, ready.source, ready.X, plan, team)
    return finished(task, backbone, ready.network, ready.size, *found, ready.about)


def prepare(task: Task, backbone: Backbone, options: Options, team: Team) -> Prepared:
    """Divide the network, and compute what its frozen part gives or take it from the store.

    Parameters and what is raised are those of :func:`fit`.

    Returns
    -------
    Prepared
    """
    network = build(backbone, len(task.classes), task.seed)
    parts.freeze_all_but(network, trained(network, backbone, options), options.bn)
    size = backbone.preprocess.input_size
    divided = cut(network, size)
    augment = options.augmentation()
    views = most_views(len(task.train), divided.shape, spare_memory())
    views = min(views, options.views) if augment else 1
    before = front(backbone, divided, task.engine, task.precision, task.say)
    spaces = [ViewSpace(before, size, augment, number, task.seed) for number in range(views)]
    with team.leader_first():
        source = Activations(activations(task.train.paths, spaces), divided.shape, task.seed)
    for part in (network, divided.tail):  # before that, the frozen part ran where it was loaded
        part.to(team.device)
    about = {"layers": options.layers, "views": views}
    return Prepared(network, divided.tail, source, task.train.X, size, about)


def trained(network: Any, backbone: Backbone, options: Options) -> set[str]:
    """Return the names of the parameters that learn; what is raised is what :func:`fit` raises."""
    names = (
        parts.matching(network, options.unfreeze)
        if options.unfreeze
        else parts.last_stages(network, options.layers)
    )
    return names | {f"{backbone.classifier}.weight", f"{backbone.classifier}.bias"}


def defaults(images: int) -> Defaults:
    """Return what goes without saying, by the number of training images."""
    epochs = int(np.clip(20_000 / images, 8, 20))
    rates = (3e-4, 1e-4, 1e-3) if images < SMALL else (1e-3, 3e-4, 3e-3)
    return Defaults(epochs, rates)
