"""A network prepared for training, which any number of trainings start from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.heads.linear import Linear, Problems, solve
from finetune.method import Task
from finetune.strategies.probe import Probe
from finetune.training.fitted import FittedNetwork
from finetune.training.interpolation import interpolate, trained_state
from finetune.training.loop import Job, predict
from finetune.training.network import set_head
from finetune.training.settings import TrainingOptions
from finetune.training.sources import Rows, Source
from finetune.training.team import Team
from finetune.training.tensorboard import tensorboard
from zoo.backbone import Backbone

__all__ = ["Bench", "Prepared"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The trained part of a network and its inputs.

    Attributes
    ----------
    tail : Module
        The trained part, which shares the network's modules.
    source : Source
        Its inputs, by the rows of the task's images.
    X : (n, d) float32 array
        The classifier's inputs before anything is trained.
    size : (int, int)
        Height and width of the images.
    record : dict
        What ``choice`` says of it.
    """

    tail: torch.nn.Module
    source: Source
    X: NDArray[np.float32]
    size: tuple[int, int]
    record: dict[str, Any]


class Bench:
    """A network that any number of trainings start from, each as if it were the first.

    Parameters
    ----------
    task : Task
    backbone : Backbone
        The network before the training.
    options : TrainingOptions
        Resolved: nothing is left to be filled in.
    network : Module
        In the mode to train in; ``requires_grad`` says which parameters are trained.
    prepared : Prepared
    team : Team

    Attributes
    ----------
    job : Job
        What :func:`finetune.training.loop.train` takes.
    task, backbone, options, prepared
        As given.
    """

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        options: TrainingOptions,
        network: Any,
        prepared: Prepared,
        team: Team,
    ) -> None:
        self.task, self.backbone, self.options, self.prepared = task, backbone, options, prepared
        show = tensorboard(options.tensorboard if team.rank == 0 else None)
        labels, n_classes = task.train.labels, len(task.classes)
        self.job = Job(network, prepared.tail, prepared.source, labels, n_classes, task.seed, team, show)
        self._first = trained_state(network)
        self._probe: tuple[float, float] | None = None
        self._heads: dict[bytes, Linear] = {}

    def begin(self, rows: Rows, head_init: str | None = None) -> dict[str, torch.Tensor]:
        """Put the network back to its start, with a classifier that knows some rows only.

        Starting from the probe's classifier, and not from a random one, keeps the first updates from
        distorting what the network knows (Kumar et al. 2022, "Fine-tuning can distort pretrained features and
        underperform out-of-distribution").

        Parameters
        ----------
        rows : int array
            What will be trained on; a probe is fitted to them.
        head_init : str, optional
            ``probe`` or ``random``; by default as the options say.

        Returns
        -------
        dict of str to tensor
            The start, as :func:`finetune.training.interpolation.trained_state` returns it.
        """
        network = self.job.network
        interpolate(network, self._first, self._first, 0)
        if (head_init or self.options.head_init) == "probe":
            head = self._head(rows)
            set_head(network, self.backbone.classifier, head.W, head.b)
        return trained_state(network)

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """Return the network's scores of rows as they are evaluated, (n, c)."""
        device = self.job.team.device

        def logits(given: torch.Tensor) -> torch.Tensor:
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.options.amp)
            with torch.inference_mode(), autocast:
                return self.job.tail(given.to(device)).float().cpu()

        return predict(self.job, logits, rows)

    def fitted(
        self, choice: dict[str, Any], history: list[dict[str, Any]], warnings: list[str]
    ) -> FittedNetwork:
        """Return the network as it is now as a result, the chosen temperature folded into its classifier."""
        classifier: Any = self.job.network.get_submodule(self.backbone.classifier)
        with torch.no_grad():
            classifier.weight.div_(choice["temperature"])
            classifier.bias.div_(choice["temperature"])
        return FittedNetwork(
            self.task.classes,
            {**choice, **self.prepared.record},
            history=history,
            warnings=warnings,
            backbone=self.backbone,
            network=self.job.network,
            trained=set(self._first),
            input_size=self.prepared.size,
        )

    def _head(self, rows: Rows) -> Linear:
        """The probe's classifier for some rows, with its L2 and temperature chosen by cross-validation."""
        task, X = self.task, self.prepared.X
        if self._probe is None:
            images = dataclasses.replace(task.train, X=X, n_last=None)
            choice = Probe().fit(dataclasses.replace(task, train=images), self.backbone).choice
            self._probe = choice["l2"], choice["temperature"]
        l2, temperature = self._probe
        if (key := rows.tobytes()) not in self._heads:
            y = task.train.labels[rows]
            problem = Problems(X[rows], y, np.ones((1, len(y)), np.float32), len(task.classes))
            self._heads[key] = problem.classifier(solve(problem, l2)).with_temperature(temperature)
        return self._heads[key]
