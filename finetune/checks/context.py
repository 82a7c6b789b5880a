"""What checks are given: an experiment, and a method that is to be trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.checks.label_ranking import RankedImage, rank
from finetune.checks.trainable import Trainable
from finetune.data.dataset import Dataset
from finetune.experiment import Experiment
from finetune.method import Method, Task
from finetune.strategies.probe import Probe
from finetune.training.method import NetworkMethod
from zoo.images.decode import open_image

__all__ = ["CheckContext"]


@dataclass(frozen=True, eq=False)
class CheckContext:
    """All that a check may use.

    Attributes
    ----------
    experiment : Experiment
        The images with their split, folds and groups, as a training would be given them.
    method : Method
        What is to be trained.
    pictures : Path
        An existing folder, for the pictures that a check draws.
    """

    experiment: Experiment
    method: Method
    pictures: Path

    @property
    def dataset(self) -> Dataset:
        """The readable images."""
        return self.experiment.dataset

    @property
    def seed(self) -> int:
        """Of anything random."""
        return self.experiment.request.seed

    @cached_property
    def task(self) -> Task:
        """The training images, as the method is given them."""
        return self.experiment.task(self.method)

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """``train`` or ``test`` for each image."""
        splits = np.full(len(self.dataset), "train")
        splits[self.experiment.split.test] = "test"
        return splits

    @cached_property
    def ranking(self) -> list[RankedImage]:
        """All images, the one that is least like its class first."""
        return rank(self.experiment, self.splits)

    @cached_property
    def trainable(self) -> Trainable | None:
        """What the method trains, on a few training images; None where no check knows how to train it."""
        if isinstance(self.method, NetworkMethod):
            from finetune.checks.network_part import NetworkPart  # imports torch

            return NetworkPart(self.method, self.task, self.experiment.backbone)
        if isinstance(self.method, Probe):
            from finetune.checks.head_part import HeadPart

            return HeadPart(self.method, self.task)
        return None

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images as they are resized and cropped for the network, (n, height, width, 3)."""
        preprocess = self.experiment.backbone.preprocess
        return np.stack([preprocess(open_image(self.dataset.paths[i])) for i in rows])

    def some_training_images(self, n: int) -> NDArray[np.int64]:
        """Return the places of some training images, the same for the same seed."""
        rows = np.random.default_rng(self.seed).permutation(self.experiment.split.train)[:n]
        return np.sort(rows)
