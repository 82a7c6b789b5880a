"""What a check is given, and what it gives back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from finetune.checks.ranking import Suspect, rank
from finetune.data.dataset import Dataset
from finetune.data.split import Split
from finetune.method import Task
from finetune.runs.plain import PlainModel
from zoo.backbone import Backbone
from zoo.features.spaces import BackboneSpace

if TYPE_CHECKING:
    from finetune.checks.network.part import NetworkPart

__all__ = ["Check", "Finding", "Status", "Subject"]

Status = Literal["pass", "warn", "fail"]


class Finding(PlainModel):
    """One row of the table.

    Attributes
    ----------
    check : str
        The check that it comes from, such as ``data``.
    name : str
        What was looked at, such as ``class sizes``.
    status : str
        ``pass``, ``warn`` (look at it) or ``fail`` (mend it before training).
    value : float, str or None
        What was found.
    threshold : str
        What it should be, in words.
    meaning : str
        What the value means for these images, in a sentence.
    todo : str
        What to do; empty where there is nothing.
    details : list
        Whatever backs the finding, for programs and for the page.
    """

    check: str
    name: str
    status: Status
    value: float | str | None
    threshold: str
    meaning: str
    todo: str = ""
    details: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Subject:
    """All that a check may look at.

    Attributes
    ----------
    dataset : Dataset
        The n readable images.
    digests : list of str
        SHA-256 of their bytes.
    X : (n, d) float32 array
        Their features.
    pixels : (n, 3072) float32 array
        Their colours on 32 x 32 pixels, from 0 to 1.
    sizes : (n, 2) float32 array
        Their widths and heights.
    split : Split
        Which of them train.
    task : Task
        The training images with their folds, as a strategy is given them.
    backbone : Backbone
        The network.
    space : BackboneSpace
        What its features are computed in.
    strategy : str
        What shall be trained.
    options : object
        The strategy's ``Options``.
    seed : int
        Of anything random.
    pictures : Path
        An existing folder; a check may write pictures into it.
    """

    dataset: Dataset
    digests: list[str]
    X: NDArray[np.float32]
    pixels: NDArray[np.float32]
    sizes: NDArray[np.float32]
    split: Split
    task: Task
    backbone: Backbone
    space: BackboneSpace
    strategy: str
    options: Any
    seed: int
    pictures: Path

    @cached_property
    def parts(self) -> NDArray[np.str_]:
        """``train`` or ``test`` for each image."""
        parts = np.full(len(self.dataset), "train")
        parts[self.split.test] = "test"
        return parts

    @cached_property
    def suspects(self) -> list[Suspect]:
        """All images, the one that looks least like its class first."""
        return rank(self.dataset, self.X, self.parts, self.digests, self.seed)

    @cached_property
    def network(self) -> "NetworkPart":
        """What last-layers and full train, made ready on a few of the training images."""
        from finetune.checks.network.part import prepare

        return prepare(self)


class Check(Protocol):
    """A check: a module's function ``check``."""

    def __call__(self, subject: Subject) -> list[Finding]:
        """Look at the subject and say what was found."""
