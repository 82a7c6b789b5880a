"""All of the network learns, from the pretrained weights and with a small rate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.errors import OptionError
from finetune.method import Task
from finetune.training import parts
from finetune.training.choice import Choice
from finetune.training.loop import Outcome
from finetune.training.memory import spare_memory
from finetune.training.network import build
from finetune.training.procedure import Finetuned, finetune
from finetune.training.settings import Defaults, Settings
from finetune.training.sources import Phases, Pictures, batches
from finetune.training.team import Team
from zoo.backbone import Backbone
from zoo.engines.memory import freed_memory_kept

__all__ = ["Options", "Prepared", "defaults", "finished", "fit", "prepare", "trained"]

#: Whether a training that is stopped can be gone on with.
RESUMABLE = True

#: Fewer training images than this are soon known by heart at the rates that serve more.
SMALL = 1_000


@dataclass(frozen=True)
class Options(Settings):
    """What a user may set, besides :class:`finetune.training.settings.Settings`.

    Attributes
    ----------
    size : int or None
        Side of the images, in pixels; by default the network's own, or less where the pictures are smaller.
    first_size : int or None
        Side of the images in the first half of the epochs, which are then cheaper.
    """

    size: int | None = None
    first_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, side in (("size", self.size), ("first-size", self.first_size)):
            if side is not None and not 32 <= side <= 2048:
                raise OptionError(f"Images {side} pixels a side are no use.", f"Give --{name} 32 to 2048.")


@freed_memory_kept()
def fit(task: Task, backbone: Backbone, options: Options) -> Finetuned:
    """Train the whole network.

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
    TrainingError
        If the training comes to nothing.
    """
    team = Team()
    ready = prepare(task, backbone, options, team)
    plan = options.plan(defaults(len(task.train)))
    found = finetune(task, backbone, ready.network, ready.tail, ready.source, ready.X, plan, team)
    return finished(task, backbone, ready.network, ready.size, *found, ready.about)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a training needs before its recipe is known.

    Attributes
    ----------
    network : Module
        In the mode to train in, with what learns asking for gradients.
    tail : Module
        Its trained part.
    source : Source
        The tail's inputs.
    X : (n, d) float32 array
        The classifier's inputs before anything is trained.
    size : (int, int)
        Height and width of the images.
    about : dict
        What ``run.json`` says of it.
    """

    network: Any
    tail: Any
    source: Any
    X: NDArray[np.float32]
    size: tuple[int, int]
    about: dict[str, Any]


def prepare(task: Task, backbone: Backbone, options: Options, team: Team) -> Prepared:
    """Build the network and read the pictures; parameters and what is raised are those of :func:`fit`.

    Returns
    -------
    Prepared
    """
    network = build(backbone, len(task.classes), task.seed).to(team.device)
    parts.freeze_all_but(network, trained(network, backbone, options), options.bn)
    own = backbone.preprocess
    source = Pictures(task.train.paths, own, options.augmentation(), task.seed, spare_memory())
    size = (options.size, options.size) if options.size else source.useful_size()
    source = source.resized(size)
    X = task.train.X
    if size != own.input_size:
        X = _features(network, backbone, source, options.plan(defaults(len(source))).recipe.amp)
    fed: Any = source
    if options.first_size:
        epochs = options.plan(defaults(len(task.train))).recipe.epochs
        fed = Phases(source.resized((options.first_size,) * 2), source, epochs // 2)
    return Prepared(network, network, fed, X, size, {"size": list(size)})


def trained(network: Any, backbone: Backbone, options: Options) -> set[str]:
    """Return the names of the parameters that learn: all of them."""
    return parts.everything(network)


def defaults(images: int) -> Defaults:
    """Return what goes without saying, by the number of training images."""
    epochs = int(np.clip(8_000 / images, 5, 8))
    rates = (3e-4, 1e-4, 1e-3) if images < SMALL else (1e-3, 3e-4, 3e-3)
    return Defaults(epochs, rates, layer_decay=0.9)


def finished(
    task: Task,
    backbone: Backbone,
    network: Any,
    size: tuple[int, int],
    outcome: Outcome,
    chosen: Choice,
    more: dict[str, Any],
) -> Finetuned:
    """Fold the temperature into a trained network's classifier, and say what is to be said of it."""
    classifier: Any = network.get_submodule(backbone.classifier)
    trained = {n for n, p in network.named_parameters() if p.requires_grad} | set(parts.buffers(network))
    with torch.no_grad():
        classifier.weight.div_(chosen.temperature)
        classifier.bias.div_(chosen.temperature)
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    warnings = []
    choice = {**chosen.record, **more}
    if choice["epochs"] == choice["of_epochs"] > 1 and choice["validation_accuracy"] < 1:
        warnings.append("It was still getting better at the last epoch: more --epochs may serve.")
    return Finetuned(backbone, network, trained, task.classes, size, learned, choice, outcome.log, warnings)


def _features(network: Any, backbone: Backbone, source: Pictures, amp: bool) -> NDArray[np.float32]:
    """The classifier's inputs at a size that the store has no features for."""
    found: list[NDArray[np.float32]] = []
    classifier = network.get_submodule(backbone.classifier)
    handle = classifier.register_forward_pre_hook(
        lambda module, given: found.append(given[0].float().flatten(1).cpu().numpy())
    )
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    chunks = np.array_split(np.arange(len(source)), max(1, -(-len(source) // 32)))
    device = next(network.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
        for given in batches(source, chunks, None):
            network(given.to(device))
    handle.remove()
    for module, training in modes:
        module.training = training
    return np.concatenate(found)
