"""A finished run put to use on new images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.evaluation.calibration import softmax
from finetune.heads.linear import Linear
from finetune.runs import Run
from finetune.runs.saved import read_head
from zoo.backbone import Backbone
from zoo.backbone import load as load_backbone
from zoo.features.extract import compute
from zoo.features.spaces import BackboneSpace
from zoo.images.decode import UnreadableImage

if TYPE_CHECKING:
    from finetune.baselines.knn import Neighbours
    from finetune.heads.mlp import MLP

__all__ = ["Predicted", "Predictor", "load"]


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a model says of some images.

    Attributes
    ----------
    paths : list of Path
        The n images that could be read, in the order given.
    logits : (n, c) array
        Calibrated scores.
    probabilities : (n, c) float64 array
        Their softmax.
    skipped : list of UnreadableImage
        Why the others could not be read.
    """

    paths: list[Path]
    logits: NDArray[np.floating[Any]]
    probabilities: NDArray[np.float64]
    skipped: list[UnreadableImage]


class Predictor:
    """A trained classifier.

    Parameters
    ----------
    run : Run
        The run it came from.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.

    Attributes
    ----------
    run : Run
    classes : tuple of str
        Class names, in the order of the outputs.
    """

    def __init__(self, run: Run, engine: str = "auto", precision: str = "fp32") -> None:
        self.run = run
        self.classes = tuple(run.data.classes)
        self._backbone: Backbone = load_backbone(f"local-dir:{run.path / 'model'}")
        self._space = BackboneSpace(self._backbone, engine, precision)
        self._head = _head(self._backbone)
        outputs = self._head.n_classes
        if outputs != len(self.classes):
            raise RunError(
                f"The model of {run.path} has {outputs} outputs for {len(self.classes)} classes.",
                "The folder was changed after the run: train again.",
            )

    def see(self, paths: Sequence[str | os.PathLike[str]]) -> Predicted:
        """Say everything about some images, leaving out those that cannot be read."""
        found = compute([Path(path) for path in paths], [self._space])
        logits = self._head.scores(found.matrices[0])
        return Predicted(found.paths, logits, softmax(logits), list(found.skipped.values()))

    def logits(self, paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c), as the saved model gives them in timm.

        Raises
        ------
        UnreadableImage
            If an image cannot be read.
        """
        seen = self.see(paths)
        if seen.skipped:
            raise seen.skipped[0]
        return seen.logits

    def predict_proba(self, paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.float64]:
        """Return class probabilities, (n, c); raises as :meth:`logits` does."""
        return softmax(self.logits(paths))

    def predict(self, paths: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Return the name of each image's most probable class; raises as :meth:`logits` does."""
        return [self.classes[i] for i in self.logits(paths).argmax(axis=1)]


def _head(backbone: Backbone) -> "Linear | Neighbours | MLP":
    """What stands behind the backbone in a model's folder."""
    if settings := backbone.config.get("knn"):
        from finetune.baselines.knn import Neighbours

        return Neighbours.load(backbone.folder, settings)
    if settings := backbone.config.get("mlp"):
        from finetune.heads.mlp import MLP

        return MLP.load(backbone.folder, settings)
    return Linear(*read_head(backbone))


def load(folder: str | os.PathLike[str], *, engine: str = "auto", precision: str = "fp32") -> Predictor:
    """Load a finished run to predict with.

    Parameters
    ----------
    folder : path
        A run folder.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.

    Returns
    -------
    Predictor

    Raises
    ------
    RunError
        If the folder holds no finished run.

    Examples
    --------
    >>> load("runs/ants-bees-probe-001").predict(["a.jpg"])  # doctest: +SKIP
    ['ants']
    """
    return Predictor(Run.load(folder), engine, precision)
