"""What every format is made from: a run's classifier, what is known of it, and its golden images."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.read import read
from finetune.errors import RunError
from finetune.export.about import about
from finetune.export.golden import Golden, choose, predict, prepare
from finetune.runs import Run, read_predictions
from finetune.runs.predictor import Predictor
from finetune.trust import Knowledge
from zoo.cli.console import print_line
from zoo.errors import DataError

if TYPE_CHECKING:
    from finetune.export.network import Classifier

__all__ = ["Labelled", "Source"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with their classes.

    Attributes
    ----------
    paths : list of Path
    names : list of str
        Relative to the data folder.
    labels : (n,) int64 array
        Indices into the run's classes.
    """

    paths: list[Path]
    names: list[str]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)


class Source:
    """A finished run, ready to be exported.

    Parameters
    ----------
    run : path
        A run folder.
    data : path, optional
        Where its images lie now, if not where they lay when it was trained.
    log : callable, optional
        Takes a line about what is being done.

    Attributes
    ----------
    run : Run
    predictor : Predictor
    knowledge : Knowledge
        For prediction sets and unfamiliar images.
    notes : list of str
        What formats have to say to the user.
    int8 : dict or None
        What was measured of 8-bit integers.

    Raises
    ------
    RunError
        If the folder holds no finished run.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        data: str | os.PathLike[str] | None = None,
        log: Callable[[str], None] = print_line,
    ) -> None:
        self.run = Run.load(run)
        self.predictor = Predictor(self.run)
        self.knowledge = Knowledge.load(self.run.path / "model")
        self.log = log
        self.notes: list[str] = []
        self.int8: dict[str, Any] | None = None
        self._data = data

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the export says of itself."""
        return about(self.predictor, self.knowledge)

    @cached_property
    def golden(self) -> Golden:
        """Training images with the run's own probabilities."""
        names, images = choose(self.train.paths, self.train.names, self.train.labels)
        space = self.predictor.space
        space.expected_images = len(images)
        probabilities = predict(self.predictor, prepare(space, images))
        return Golden(images, names, self.predictor.classes, probabilities)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The golden images, prepared, (n, height, width, 3)."""
        return prepare(self.predictor.space, self.golden.images)

    @cached_property
    def module(self) -> "Classifier":
        """The classifier as a torch module."""
        from finetune.export.network import classifier

        return classifier(self.predictor, self.knowledge.unfamiliar)

    @property
    def train(self) -> Labelled:
        """The training images."""
        return self._images[0]

    @property
    def held_out(self) -> Labelled:
        """The held-out images."""
        return self._images[1]

    @cached_property
    def _images(self) -> tuple[Labelled, Labelled]:
        given = self.run.data.path if self._data is None else os.fspath(self._data)
        try:
            dataset = read(given, _labels_option(self.run))
        except DataError as error:
            raise RunError(
                f"The images that the run was trained on are needed to check the export. {error.problem}",
                "Give the folder or table they lie in now with --data.",
            ) from error
        if dataset.classes != self.predictor.classes:
            raise RunError(
                f"{given} has other classes than the run ({', '.join(dataset.classes[:5])}).",
                "Give the folder or table that the run was trained on with --data.",
            )
        skipped = {file.path.as_posix() for file in self.run.data.skipped}
        held_out = {row.path for row in read_predictions(self.run.path)}
        names = np.array(dataset.names)
        usable = ~np.isin(names, list(skipped))
        held = np.isin(names, list(held_out))

        def part(rows: NDArray[np.bool_]) -> Labelled:
            places = np.flatnonzero(rows)
            return Labelled(
                [dataset.paths[i] for i in places], names[places].tolist(), dataset.labels[places]
            )

        return part(usable & ~held), part(held)


def _labels_option(run: Run) -> str:
    """How class names were read from folders: a part of the recorded command."""
    words = shlex.split(run.command)
    return words[words.index("--labels") + 1] if "--labels" in words else "top"
