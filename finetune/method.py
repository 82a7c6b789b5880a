"""The contract of everything that can be fitted and compared: what it is given and what it gives back.

This module and those of the methods import nothing heavy when they are imported, so that the command
line can list methods and options at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from finetune.options import FeatureOptions, Options

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.plan import Nested
    from finetune.data.split import Folds
    from zoo.backbone import Backbone

__all__ = ["Fitted", "Images", "Method", "Task"]

OptionsT = TypeVar("OptionsT", bound=Options)

Kind = Literal["strategy", "baseline", "reference"]
Inputs = Literal["features", "pixels"]
Features = Literal["last", "stages"]


def _silent(line: str) -> None:
    """Log nothing."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their features.

    Attributes
    ----------
    paths : tuple of Path
        The n files.
    labels : (n,) int array
        Class indices.
    X : (n, d) float32 array
        What the method needs: features of the frozen backbone, or pixels.
    groups : (n,) array or None
        Images of one group show one thing and never straddle a split or a fold.
    n_last : int or None
        Where `X` holds features of all stages: how many of its columns, the first ones, are the network's
        last features.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    X: NDArray[np.float32]
    groups: NDArray[Any] | None = None
    n_last: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def last(self) -> NDArray[np.float32]:
        """The network's last features, (n, n_last); all of `X` where it holds nothing else."""
        return self.X[:, : self.n_last]

    def features(self, features: str) -> NDArray[np.float32]:
        """Return the features that are called ``last`` or ``stages``."""
        return self.X if features == "stages" else self.last

    def reading(self, features: str) -> Images:
        """Return the images with nothing but the features that are called ``last`` or ``stages``."""
        return replace(self, X=self.features(features), n_last=None)

    def subset(self, rows: NDArray[np.int64]) -> Images:
        """Take some of the images, in the order wanted."""
        groups = None if self.groups is None else self.groups[rows]
        paths = tuple(self.paths[i] for i in rows)
        return Images(paths, self.labels[rows], self.X[rows], groups, self.n_last)


@dataclass(frozen=True, eq=False)
class Task:
    """All that a method may learn from: training images only.

    Attributes
    ----------
    train : Images
        The training split.
    folds : Folds
        Its cross-validation; every choice is made on these.
    classes : tuple of str
        Class names, in the order of the labels.
    seed : int
        Of anything random.
    engine, precision : str
        What runs frozen parts of a network, as in :func:`zoo.engines.build`.
    tta : str
        What the features are averaged over: ``none``, or ``mirror`` for an image and its mirror image.
    checkpoints : Path or None
        Folder from which a training that was stopped continues; None keeps nothing.
    checkpoint_minutes : float
        How often a checkpoint is written, besides at the end of each epoch.
    log : callable
        Given one line at a time of what the user may want to know while it runs.
    """

    train: Images
    folds: Folds
    classes: tuple[str, ...]
    seed: int = 0
    engine: str = "auto"
    precision: str = "fp32"
    tta: str = "none"
    checkpoints: Path | None = None
    checkpoint_minutes: float = 1.0
    log: Callable[[str], None] = _silent

    def within(self, rows: NDArray[np.int64], n_folds: int) -> Task:
        """Return the task of some of the training images, with folds of its own."""
        from finetune.data.plan import inner_folds

        train = self.train.subset(rows)
        dealt = inner_folds(train.labels, train.groups, n_folds, self.seed)
        return replace(self, train=train, folds=dealt, checkpoints=None)


@dataclass(eq=False)
class Fitted(ABC):
    """What a method gives back.

    Attributes
    ----------
    classes : tuple of str
        Names of the outputs.
    choice : dict
        What was chosen by cross-validation and its score: ``cv_accuracy``, ``cv_std``, …
    history : list of dict
        Lines for ``metrics.jsonl``.
    warnings : list of str
        What the user should know before trusting the result.
    out_of_fold : (n, c) array or None
        Calibrated scores of the training images by classifiers that were not fitted to them.
    validation : (rows, scores) or None
        The same of some training images, where the others have none: their places, and (m, c) scores.
    files : dict
        Further files for the run folder, name to text.
    """

    classes: tuple[str, ...]
    choice: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    out_of_fold: NDArray[np.floating[Any]] | None = None
    validation: tuple[NDArray[np.int64], NDArray[np.floating[Any]]] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """How many numbers were learned."""

    @abstractmethod
    def decision_function(self, images: Images) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into `folder`, in timm's layout where it has one for such a classifier."""


class Method(ABC, Generic[OptionsT]):
    """A way of making a classifier. One class in one file, and one line in :mod:`finetune.methods`.

    Attributes
    ----------
    name : str
        As in ``--strategy NAME``.
    kind : str
        ``strategy``; ``baseline``, which a strategy should beat; or ``reference``, which works without a
        CNN.
    summary : str
        What is trained, in a few words, for ``--help``.
    inputs : str
        What the task's `X` shall hold: ``features`` or ``pixels``.
    Options : type
        What may be set.
    trains_network : bool
        Whether the network itself is trained, and not only what reads its features.
    resumable : bool
        Whether a fit that was stopped continues from the task's checkpoints.
    shares_folds : bool
        Whether :meth:`cross_validate` is faster than a fit for each outer fold.
    options : Options
        What was set.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "strategy"
    summary: ClassVar[str]
    inputs: ClassVar[Inputs] = "features"
    Options: ClassVar[type[Options]] = Options
    trains_network: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    shares_folds: ClassVar[bool] = False

    options: OptionsT

    def __init__(self, options: OptionsT | None = None) -> None:
        self.options = options if options is not None else self.Options()  # type: ignore[assignment]

    @property
    def features(self) -> Features:
        """Which features of a network the task's `X` shall hold: ``last``, or those of all ``stages`` too."""
        options = self.options
        return "stages" if isinstance(options, FeatureOptions) and options.features != "last" else "last"

    @abstractmethod
    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Learn from the training images; every choice is made on the task's folds.

        Parameters
        ----------
        task : Task
        backbone : Backbone or None
            What features came from, and what is saved with the classifier; None where `inputs` is
            ``pixels``.
        """

    def cross_validate(
        self, task: Task, nested: Nested, backbone: Backbone | None
    ) -> list[NDArray[np.int64]]:
        """Predict every outer fold with what is chosen and fitted outside it.

        Parameters
        ----------
        task : Task
            Training images; its folds are not used.
        nested : Nested
            The outer folds, and the choices inside them.
        backbone : Backbone or None
            As for :meth:`fit`.

        Returns
        -------
        list of int arrays
            Predicted classes of each outer fold's held-out rows.
        """
        n_folds = max(2, len(nested.choices[0]))
        return [
            self.fit(task.within(train, n_folds), backbone)
            .decision_function(task.train.subset(rows))
            .argmax(axis=1)
            for train, rows in nested.outer
        ]
