"""What a strategy trains of a network, made ready by the strategy itself on a few of the training images."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from finetune.checks.contract import Subject
from finetune.checks.trained_part import draw
from finetune.data.split import Folds
from finetune.method import Task
from finetune.methods import load_method
from finetune.strategies.full import Prepared
from finetune.training.choice import Plan
from finetune.training.learner import Learner
from finetune.training.loop import Job
from finetune.training.network import depthwise_in_fp32
from finetune.training.procedure import Bench
from finetune.training.recipe import Recipe
from finetune.training.sources import Pictures, Rows
from finetune.training.team import Team

__all__ = ["IMAGES", "SIDE", "NetworkPart", "prepare"]

#: Training images that the checks of a network take.
IMAGES = 64

#: Most pixels a side where a check makes many updates; the mathematics is the same, the time a fifth.
SIDE = 96


@dataclass(frozen=True, eq=False)
class NetworkPart:
    """A network as its strategy would train it.

    Attributes
    ----------
    task : Task
        Of the few images, which are not augmented.
    backbone : Backbone
        What the network was before.
    ready : Prepared
        The network, its trained part and what that is fed with.
    plan : Plan
        What the strategy would do with all training images.
    updates : int
        How many it would make.
    usual_rate : float
        The rate that it tries first where the user gives none.
    trained : set of str
        Names of the parameters that the strategy says it trains.
    """

    task: Task
    backbone: Any
    ready: Prepared
    plan: Plan
    updates: int
    usual_rate: float
    trained: set[str]

    def begin(self, start: str) -> None:
        """Put the network back to where a training begins, its classifier ``random`` or the ``probe``'s."""
        self._benches[start].begin(np.arange(len(self.task.train)))

    def job(self, side: int | None = None) -> Job:
        """Return what the loop is given; pictures have at most `side` pixels a side."""
        job = self._benches["random"].job
        source = job.source
        if side is not None and isinstance(source, Pictures) and side < min(self.ready.size):
            source = source.resized((side, side))
        return dataclasses.replace(job, source=source)

    @contextmanager
    def learner(self, recipe: Recipe, kind: type[Learner] = Learner) -> Iterator[Learner]:
        """Within, the network learns by a recipe whose rate does not change."""
        steady = dataclasses.replace(recipe, warmup=0.0, schedule="constant")
        job, weights = self.job(), np.ones(len(self.task.classes))
        with depthwise_in_fp32(job.network):
            yield kind(job.network, job.tail, steady, self.updates, weights, job.seed, job.team, job.say)

    def images(self, n: int) -> torch.Tensor:
        """Return some images as all of the network is given them, (n, 3, height, width)."""
        preprocess = dataclasses.replace(self.backbone.preprocess, input_size=self.ready.size)
        paths = self.task.train.paths[:n]
        return Pictures(paths, preprocess, None, 0, limit=0).batch(np.arange(len(paths)), None)

    def rows(self, n: int) -> Rows:
        """Return the first rows of the classes in turn, so that even a few show most classes."""
        y = self.task.train.labels
        turn = np.array([np.count_nonzero(y[:i] == label) for i, label in enumerate(y)])
        return np.sort(np.argsort(turn, kind="stable")[:n])

    @cached_property
    def _benches(self) -> dict[str, Bench]:
        ready, team = self.ready, Team()
        return {
            start: Bench(
                self.task, self.backbone, ready.network, ready.tail, ready.source, ready.X, start, team
            )
            for start in ("random", "probe")
        }


def prepare(subject: Subject) -> NetworkPart:
    """Make ready what the subject's strategy trains.

    Parameters
    ----------
    subject : Subject
        Of the strategy ``last-layers`` or ``full``.

    Returns
    -------
    NetworkPart

    Raises
    ------
    OptionError
        If the network has not what the options name.
    TrainingError
        If the network cannot be divided.
    """
    strategy: Any = load_method(subject.strategy)
    task = _few(subject)
    still = {"first_size": None} if hasattr(subject.options, "first_size") else {}
    options = dataclasses.replace(subject.options, augment="none", **still)
    ready = strategy.prepare(task, subject.backbone, options, Team())
    images = len(subject.task.train)
    defaults = strategy.defaults(images)
    plan = subject.options.plan(defaults)
    return NetworkPart(
        task=task,
        backbone=subject.backbone,
        ready=ready,
        plan=plan,
        updates=max(1, plan.recipe.epochs * images // plan.recipe.batch),
        usual_rate=defaults.rates[0],
        trained=strategy.trained(ready.network, subject.backbone, options),
    )


def _few(subject: Subject) -> Task:
    """The task on a few images; torch computes what is frozen, for to convert that takes longer."""
    rows = draw(subject, IMAGES)
    place = np.full(len(subject.task.train), -1)
    place[rows] = np.arange(len(rows))
    pairs = [tuple(place[part][place[part] >= 0] for part in pair) for pair in subject.task.folds.pairs]
    used = [(inner, held_out) for inner, held_out in pairs if len(inner) and len(held_out)]
    few = subject.task.train.subset(rows)
    return Task(few, Folds(used, len(used)), subject.task.classes, subject.seed, engine="torch")
