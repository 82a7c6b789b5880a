"""How long a network, or a training of it, takes here: measured once on a few images, and remembered.

What is measured is seconds an image. From these follow the seconds of a whole training, for any number of
images and any settings.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finetune.data.split import Folds
    from finetune.method import Task
    from finetune.training.method import NetworkMethod
    from zoo.backbone import Backbone
    from zoo.features.spaces import BackboneSpace

__all__ = ["TrainingSpeed", "network_speed", "remembered_speed", "training_speed"]

#: Images that are trained on to measure the speed: the first batch is slower than the others.
IMAGES = 96


@dataclass(frozen=True)
class TrainingSpeed:
    """Seconds that the parts of a training take.

    Attributes
    ----------
    setup : float
        Until the first update, whatever the number of images.
    view : float
        To compute the frozen part's output for one view of an image; 0 where there is no such part.
    update : float
        To train on an image once.
    scoring : float
        To evaluate an image during a training.
    predicting : float
        To predict an image with the whole network in torch.
    """

    setup: float
    view: float
    update: float
    scoring: float
    predicting: float

    def choosing(self, options: Any, folds: Folds, n: int, tries: int = 1) -> float:
        """Return the seconds for choosing the learning rate and alpha.

        Parameters
        ----------
        options : TrainingOptions
            Resolved.
        folds : Folds
            Of the n training images.
        n : int
        tries : int, optional
            Learning rates that are tried.
        """
        from finetune.data.split import judging_folds

        views = getattr(options, "num_views", 1)
        total = self.setup + n * views * self.view
        for inner, held_out in judging_folds(folds):
            total += tries * self._training(options.epochs, len(inner), len(held_out))
        return total

    def cross_validating(self, options: Any, folds: Folds) -> float:
        """Return the seconds for training outside the folds that the choice is not made on."""
        from finetune.data.split import judging_folds

        rest = folds.pairs[len(judging_folds(folds)) :]
        return sum(self._training(options.epochs, len(inner), len(held_out)) for inner, held_out in rest)

    def finishing(self, options: Any, n: int, n_held_out: int) -> float:
        """Return the seconds for training on all n images and evaluating the held-out ones."""
        return n * options.epochs * self.update + n_held_out * self.predicting

    def _training(self, epochs: int, n: int, n_held_out: int) -> float:
        # After each epoch the held-out images are evaluated, and at the end for each alpha.
        return n * epochs * self.update + n_held_out * (epochs + 4) * self.scoring


def network_speed(space: BackboneSpace, paths: Sequence[Path], remembered: bool = False) -> float:
    """Return the seconds that a network takes for an image, from the file to its features.

    Parameters
    ----------
    space : BackboneSpace
    paths : sequence of Path
        Some images, of which a batch is timed; one that cannot be read must not be among them.
    remembered : bool, optional
        Return what was measured before, if it was: then no engine has to be made ready.
    """
    from zoo.cache.notes import recall, remember
    from zoo.engines import BATCH
    from zoo.features.spaces import prepared
    from zoo.images.decode import EncodedImage, read_file
    from zoo.parallel import in_order

    subject = {**_machine(space.backbone), "seconds": "an image", "space": space.identity}
    note = recall(subject)
    if remembered and note:
        return float(note["image"])
    some = list(paths[:BATCH])

    def decoded(path: Path) -> Any:
        return prepared(space, EncodedImage(read_file(path), str(path)))

    def once() -> float:
        start = time.perf_counter()
        pixels = list(in_order(decoded, some, 2 * BATCH))
        space.run(np.resize(np.stack(pixels), (BATCH, *pixels[0].shape)))
        return time.perf_counter() - start

    once()  # makes the engine ready
    seconds = min(once(), once()) / len(some)
    remember(subject, {"image": seconds})
    return seconds


def remembered_speed(method: NetworkMethod[Any], backbone: Backbone, image: float) -> TrainingSpeed | None:
    """Return what :func:`training_speed` measured here before, if it did.

    Parameters
    ----------
    method, backbone
        As there.
    image : float
        What :func:`network_speed` returns now. By as much as it differs from then, all seconds are longer or
        shorter now: other programs take their share.
    """
    from zoo.cache.notes import recall

    note = recall(_subject(method, backbone))
    if not note:
        return None
    times = image / note.pop("image")
    return TrainingSpeed(**{name: times * seconds for name, seconds in note.items()})


def training_speed(method: NetworkMethod[Any], task: Task, backbone: Backbone, image: float) -> TrainingSpeed:
    """Measure how long the parts of a training take, on a few training images.

    Parameters
    ----------
    method : NetworkMethod
        Its settings but the number of views and of epochs are those of the training.
    task : Task
    backbone : Backbone
    image : float
        What :func:`network_speed` returned; the frozen part takes no longer.
    """
    from zoo.cache.notes import remember

    if found := remembered_speed(method, backbone, image):
        return found
    from finetune.training.checkpoint import Checkpoint
    from finetune.training.loop import train

    rng = np.random.default_rng([task.seed, 5])
    rows = np.sort(rng.permutation(len(task.train))[:IMAGES])
    few = {"epochs": 2, "num_views": 1} if hasattr(method.options, "num_views") else {"epochs": 2}
    brief = type(method)(method.options.model_copy(update=few))
    some = task.within(rows, 2)
    start = time.perf_counter()
    bench = brief.bench(some, backbone)
    everything = np.arange(len(rows))
    bench.begin(everything)
    setup = time.perf_counter() - start
    options = bench.options
    log = train(bench.job, everything, options, Checkpoint(), "measuring the speed", until=2).log
    start = time.perf_counter()
    bench.scores(everything)
    scoring = (time.perf_counter() - start) / len(rows)
    cut = hasattr(options, "num_views")
    found = TrainingSpeed(
        setup=max(0.0, setup - len(rows) * image),
        view=image if cut else 0.0,
        update=1 / float(log[-1]["images_per_second"]),
        scoring=scoring,
        predicting=_predicting(bench.job.network, bench.prepared.size),
    )
    remember(_subject(method, backbone), {**asdict(found), "image": image})
    return found


def _predicting(network: Any, size: tuple[int, int]) -> float:
    """Seconds of an image in a batch of 32, by torch."""
    import torch

    from finetune.training.network import evaluating

    batch = torch.zeros(32, 3, *size).to(memory_format=torch.channels_last)
    device = next(network.parameters()).device
    taken = []
    with evaluating(network), torch.inference_mode():
        for _ in range(2):
            start = time.perf_counter()
            network(batch.to(device)).cpu()
            taken.append(time.perf_counter() - start)
    return min(taken) / len(batch)


def _machine(backbone: Backbone) -> dict[str, Any]:
    from zoo.engines.machine import machine, versions

    return {"network": backbone.identity, **machine(), **versions("torch", "timm", "openvino", "onnxruntime")}


def _subject(method: NetworkMethod[Any], backbone: Backbone) -> dict[str, Any]:
    settings = method.options.model_dump(
        mode="json", exclude={"epochs", "num_views", "lr", "cv", "tensorboard"}
    )
    return {**_machine(backbone), "training": method.name, "settings": settings}
