"""A network as its method would train it, on a few of the training images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from finetune.checks.trainable import Measure, Memorised, Rows, Step, Trainable, draw
from finetune.data.split import Folds
from finetune.method import Task
from finetune.training.checkpoint import Checkpoint
from finetune.training.learner import Diverged, Learner
from finetune.training.loop import train, update_ratio
from finetune.training.method import NetworkMethod
from finetune.training.network import evaluating
from finetune.training.settings import TrainingOptions
from zoo.backbone import Backbone
from zoo.images.decode import open_image

__all__ = ["NetworkPart"]

T = TypeVar("T")

#: Training images that are used.
IMAGES = 64

#: Most pixels a side of the images that ``full`` trains on here: the same computation in a fifth of the time.
SIDE = 96

#: How a few images are memorised: epochs of one update, from a new classifier, until the loss is so low
#: (that of a probability of 95%). The learning rate is this check's own, for another check tells whether the
#: user's is good.
EPOCHS, LR, LEARNED = 100, 1e-3, 0.05

#: Names of the statistics of a batch normalisation.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class NetworkPart(Trainable):
    """A network as its method would train it, without augmentation and from a random classifier.

    Parameters
    ----------
    method : NetworkMethod
    task : Task
        All training images.
    backbone : Backbone

    Attributes
    ----------
    trained : set of str
        Names of the parameters that the method trains.

    Raises
    ------
    OptionError
        If the network lacks what the options name.
    TrainingError
        If the network cannot be divided.
    """

    is_network = True

    def __init__(self, method: NetworkMethod[Any], task: Task, backbone: Backbone) -> None:
        n_images = len(task.train)
        options = method.options.resolved(n_images)
        self.images = task.train.subset(draw(task.train.labels, IMAGES, task.seed))
        self.seed = task.seed
        self.lrs = method.options.learning_rates(n_images)
        self.lr_given = method.options.lr is not None
        self.n_updates = max(1, options.epochs * n_images // options.batch_size)
        self.loss_at_start = math.log(len(task.classes))
        self._backbone = backbone
        # torch computes the frozen part: to convert it for another engine would take longer.
        few = dataclasses.replace(
            task, train=self.images, folds=Folds([], 0), engine="torch", precision="fp32", checkpoints=None
        )
        self._bench = type(method)(_plain(options, backbone)).bench(few, backbone)
        self._network: Any = self._bench.job.network
        self.trained = method.trained(self._network, backbone)

    def memorise(self, rows: Rows) -> Memorised | None:
        """Train on some images, by the loop that trains."""
        options = self._bench.options.model_copy(
            update={"lr": LR, "epochs": EPOCHS, "batch_size": len(rows), "warmup_ratio": 0.05}
            | {"opt": "adamw", "weight_decay": 0.0, "clip_grad": 1.0, "layer_decay": 1.0, "patience": None}
        )
        self._start()
        try:
            outcome = train(self._bench.job, rows, options, Checkpoint(), "a few images", stop=_learned)
        except Diverged:
            return None
        last, learned = outcome.log[-1], _learned(outcome.log)
        wrong = rows[self._bench.scores(rows).argmax(axis=1) != self.images.labels[rows]]
        how = f"in {len(outcome.log)} updates without weight decay"
        return Memorised(last["accuracy"], last["loss"], wrong[:0] if learned else wrong, how)

    def steps(self, rows: Rows, lrs: Sequence[float]) -> Iterator[Step]:
        """Update what is trained."""
        self._start()
        learner = self._learner()
        given, labels = self._batch(rows)
        for step, lr in enumerate(lrs):
            before = [p.detach().clone() for p in learner.named.values()]
            learner.lr_now = lr
            try:
                loss, _, _ = learner.update(given.clone(), labels, step, len(rows))
            except Diverged:
                return
            yield Step(loss / len(rows), update_ratio(learner, before))

    def layers(self, rows: Rows, measure: Measure[T]) -> list[T]:
        """Measure each activation function of the whole network, and the scores, on images as evaluated."""
        self._start()
        kinds = {name: _kind(module) for name, module in self._network.named_modules()}
        watched = {name: kind for name, kind in kinds.items() if kind}
        if not watched:  # functions that are no modules cannot be observed; the convolutions before them can
            modules = self._network.named_modules()
            watched = {name: "conv" for name, module in modules if isinstance(module, nn.Conv2d)}
        watched[self._backbone.classifier] = "scores"
        found: list[T] = []

        def hook(name: str, kind: str) -> Any:
            return lambda module, given, output: found.append(
                measure(name, kind, output.detach().float().cpu().numpy())
            )

        handles = [
            self._network.get_submodule(name).register_forward_hook(hook(name, kind))
            for name, kind in watched.items()
        ]
        try:
            with evaluating(self._network), torch.inference_mode():
                self._forward(rows)
        finally:
            for handle in handles:
                handle.remove()
        return found

    def changed_by_update(self, rows: Rows) -> set[str]:
        """Return the names of the parameters and buffers that one update changes by a byte.

        Besides the update, images go through the whole network in the mode that it trains in: a frozen batch
        normalisation that was left in training mode would follow their statistics.
        """
        self._start()
        before = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        with torch.no_grad():
            self._forward(rows)
        learner = self._learner()
        learner.update(*self._batch(rows), 0, len(rows))
        after = self._network.state_dict()
        return {name for name, tensor in before.items() if not _same_bytes(tensor, after[name])}

    def followed_statistics(self) -> set[str]:
        """Return the names of the statistics that training updates: with bn=train, of what is trained."""
        if self._bench.options.bn != "train":
            return set()
        return {
            name
            for name in self._network.state_dict()
            if name.endswith(_STATISTICS) and f"{name.rpartition('.')[0]}.weight" in self.trained
        }

    @property
    def n_frozen(self) -> int:
        """How many parameters are frozen, each a tensor."""
        return sum(name not in self.trained for name, _ in self._network.named_parameters())

    def _start(self) -> None:
        self._bench.begin(np.arange(len(self.images)), head_init="random")

    def _learner(self) -> _SteppedLearner:
        job = self._bench.job
        weights = np.ones(job.n_classes)
        options = self._bench.options
        return _SteppedLearner(job.network, job.tail, options, self.n_updates, weights, job.seed, job.team)

    def _batch(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        return self._bench.job.source.batch(rows, None), torch.from_numpy(self.images.labels[rows])

    def _forward(self, rows: Rows) -> None:
        """Pass images through the whole network."""
        preprocess = dataclasses.replace(self._backbone.preprocess, input_size=self._bench.prepared.size)
        pixels = np.stack([preprocess(open_image(self.images.paths[i])) for i in rows])
        batch = (pixels / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
        device = next(self._network.parameters()).device
        self._network(torch.from_numpy(batch).permute(0, 3, 1, 2).float().to(device))


class _SteppedLearner(Learner):
    """Learns at the learning rate that it is given before an update, if any; else as its options say."""

    lr_now: float | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._schedule = self

    def step_update(self, step: int) -> None:
        """Set the learning rate, of which early stages have their share."""
        lr = self.options.lr if self.lr_now is None else self.lr_now
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)


def _plain(options: Any, backbone: Backbone) -> TrainingOptions:
    """Return the options without augmentation and what else would change the loss of the same images."""
    known = type(options).model_fields
    plain: dict[str, Any] = {
        "augment": "none",
        "hflip": False,
        "mixup": 0.0,
        "cutmix": 0.0,
        "label_smoothing": 0.0,
        "model_ema_decay": 0.0,
        "class_weight": "none",
        "sampling": "none",
        "sched": "constant",
        "warmup_ratio": 0.0,
        "grad_accum_steps": 1,
        "amp": False,
        "tensorboard": None,
        "initial_size": None,
    }
    if "img_size" in known:
        plain["img_size"] = min(SIDE, options.img_size or min(backbone.preprocess.input_size))
    copy: TrainingOptions = options.model_copy(update={k: v for k, v in plain.items() if k in known})
    return copy


def _learned(log: list[dict[str, Any]]) -> bool:
    return bool(log) and log[-1]["accuracy"] == 1 and log[-1]["loss"] <= LEARNED


def _kind(module: nn.Module) -> str:
    """Return an activation function's name; empty for anything else."""
    package = type(module).__module__
    if package == "torch.nn.modules.activation" or package.startswith("timm.layers.activations"):
        return type(module).__name__.lower()
    return ""


def _same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors have the same bytes; comparing numbers would fail for NaN and -0."""
    one, two = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(one, two)
