"""From a pretrained network to a trained one: what ``last-layers`` and ``full`` have in common.

The classifier begins as the probe's (Kumar et al. 2022, "Fine-tuning can distort pretrained features and
underperform out-of-distribution": a random one would first undo what the network knows). The rate and the
number of epochs are chosen on images of the training part that are not trained on, nor was the classifier to
begin with; then all training images are trained on with these.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.heads.linear import Linear, Problems, solve
from finetune.method import Images, Task
from finetune.runs.saved import save_network
from finetune.strategies import probe
from finetune.training import parts
from finetune.training.board import board
from finetune.training.checkpoint import Checkpoints
from finetune.training.choice import Choice, Plan, choose
from finetune.training.loop import Job, Outcome, train
from finetune.training.network import depthwise_in_fp32, set_head
from finetune.training.sources import Pictures, Rows, batches
from finetune.training.team import Team
from zoo.backbone import Backbone

__all__ = ["Bench", "Finetuned", "finetune"]


@dataclass(eq=False)
class Finetuned:
    """A trained network.

    Attributes
    ----------
    backbone : Backbone
        What it was before.
    network : Module
        What it is now, the temperature folded into its classifier.
    trained : set of str
        Names of the tensors that may differ.
    classes : tuple of str
        Names of its outputs.
    input_size : (int, int)
        Height and width of the images that it was trained on.
    trained_parameters : int
        How many numbers were learned.
    choice, log, warnings
        As in :class:`finetune.method.Trained`.
    """

    backbone: Backbone
    network: Any
    trained: set[str]
    classes: tuple[str, ...]
    input_size: tuple[int, int]
    trained_parameters: int
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""
        preprocess = dataclasses.replace(self.backbone.preprocess, input_size=self.input_size)
        pictures = Pictures(images.paths, preprocess, None, 0, limit=0)
        network = self.network.eval()
        device = next(network.parameters()).device
        chunks = np.array_split(np.arange(len(images)), max(1, -(-len(images) // 32)))
        with torch.inference_mode():
            scores = [network(given.to(device)).float().cpu() for given in batches(pictures, chunks, None)]
        return np.asarray(torch.cat(scores).numpy())

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, in timm's layout."""
        state = self.network.state_dict()
        tensors = {name: state[name].detach().cpu().contiguous().numpy() for name in sorted(self.trained)}
        size = None if self.input_size == self.backbone.preprocess.input_size else self.input_size
        save_network(folder, self.backbone, tensors, self.classes, size)


def finetune(
    task: Task,
    backbone: Backbone,
    network: Any,
    tail: torch.nn.Module,
    source: Any,
    X: NDArray[np.float32],
    plan: Plan,
    team: Team,
) -> tuple[Outcome, Choice]:
    """Choose the rate and the epochs, then train on all training images.

    Parameters
    ----------
    task : Task
    backbone : Backbone
        What the network was before.
    network : Module
        In the mode to train in, with what learns asking for gradients; trained afterwards.
    tail : Module
        Its trained part.
    source : Source
        The tail's inputs, by the rows of the task's images.
    X : (n, d) float32 array
        The classifier's inputs before anything is trained, for it to begin with.
    plan : Plan
    team : Team

    Returns
    -------
    outcome : Outcome
        Of the last training.
    choice : Choice
    """
    legs = Checkpoints(task.checkpoints, task.checkpoint_minutes, team.rank == 0)
    show = board(plan.tensorboard if team.rank == 0 else None)
    bench = Bench(task, backbone, network, tail, source, X, plan.start, team, show)
    everything = np.arange(len(task.train))
    with depthwise_in_fp32(network):
        chosen = choose(bench.job, plan, legs, task.folds, bench.begin)
        bench.begin(everything)
        final = legs.leg("final")
        outcome = train(bench.job, everything, chosen.recipe, final, "training", until=chosen.epochs)
    return outcome, chosen


class Bench:
    """A network that any number of trainings begin with, each as if it were the first.

    Parameters are those of :func:`finetune`, and `start` as in :class:`finetune.training.choice.Plan`, `show`
    as in :class:`finetune.training.loop.Job`.

    Attributes
    ----------
    job : Job
    """

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        network: Any,
        tail: torch.nn.Module,
        source: Any,
        X: NDArray[np.float32],
        start: str,
        team: Team,
        show: Callable[[str, dict[str, Any]], None] = lambda name, line: None,
    ) -> None:
        labels, classes = task.train.labels, len(task.classes)
        self.job = Job(network, tail, source, labels, classes, task.seed, team, task.say, show)
        self._snapshot = _snapshot(network)
        self._head = _Heads(task, backbone, X, start)

    def begin(self, rows: Rows) -> None:
        """Put the network back to where a training on some rows begins."""
        _restore(self.job.network, self._snapshot)
        self._head.put(self.job.network, rows)


class _Heads:
    """Classifiers to begin with, each fitted to the rows that are then trained on."""

    def __init__(self, task: Task, backbone: Backbone, X: NDArray[np.float32], start: str) -> None:
        self._task, self._name, self._X = task, backbone.classifier, X
        self._fitted: dict[bytes, Linear] = {}
        self._l2: float | None = None
        self._temperature = 1.0
        if start == "probe":
            options = probe.Options()
            images = dataclasses.replace(task.train, X=X)
            choice = probe.fit(dataclasses.replace(task, train=images), backbone, options).choice
            self._l2, self._temperature = choice["l2"], choice["temperature"]

    def put(self, network: Any, rows: Rows) -> None:
        if self._l2 is None:
            return
        if (key := rows.tobytes()) not in self._fitted:
            y = self._task.train.labels[rows]
            problem = Problems(self._X[rows], y, np.ones((1, len(y)), np.float32), len(self._task.classes))
            self._fitted[key] = problem.classifier(solve(problem, self._l2))
        found = self._fitted[key]
        T = np.float32(self._temperature)
        set_head(network, self._name, found.W / T, found.b / T)


def _snapshot(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training may move, as it is."""
    learned = {n: p for n, p in network.named_parameters() if p.requires_grad}
    return {n: t.detach().clone() for n, t in {**learned, **parts.buffers(network)}.items()}


def _restore(network: torch.nn.Module, kept: dict[str, torch.Tensor]) -> None:
    state = network.state_dict()
    with torch.no_grad():
        for name, tensor in kept.items():
            state[name].copy_(tensor)
