"""A finished run's classifier on new images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.evaluation.calibration import softmax
from finetune.heads.head import Head
from finetune.runs.record import Run
from finetune.runs.saved import load_head, model_errors
from zoo.backbone import Backbone
from zoo.backbone import load as load_backbone
from zoo.features.fill import compute
from zoo.features.mirror import Mirrored, averaged
from zoo.features.spaces import BackboneSpace, RawPixels, Space
from zoo.images.decode import UnreadableImage
from zoo.reading import read_json

__all__ = ["Predictions", "Predictor", "load"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for some images.

    Attributes
    ----------
    paths : list of Path
        The n images that could be read, in the order given.
    features : (n, d) array
        The network's last features, or what else a head without a network was given.
    scores : (n, c) array
        Calibrated scores.
    probabilities : (n, c) float64 array
        Their softmax.
    skipped : list of UnreadableImage
        Why the others could not be read.
    """

    paths: list[Path]
    features: NDArray[np.float32]
    scores: NDArray[np.floating[Any]]
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
        folder = run.path / "model"
        self._spaces: list[Space] = [RawPixels()]
        backbone: Backbone | None = None
        with model_errors(folder):
            config = read_json(folder / "config.json")
        if config.get("inputs") != "pixels":
            backbone = load_backbone(f"local-dir:{folder}")
            features = config.get("features", "last")
            space = BackboneSpace(backbone, engine, precision, features=features)
            self._spaces = [space, Mirrored(space)] if config.get("tta") == "mirror" else [space]
        with model_errors(folder):
            self._head: Head = load_head(folder, backbone)
            outputs = self._head.n_classes
            # One row tells whether the head takes what the network gives, and whether it holds NaN.
            row = np.zeros((1, self._spaces[0].width), np.float32)
            self._check_finite(self._head.decision_function(row))
        if outputs != len(self.classes):
            raise RunError(
                f"The model of {run.path} has {outputs} outputs for {len(self.classes)} classes.",
                "The folder was changed after the run: train again.",
            )

    def predict_all(self, paths: Sequence[str | os.PathLike[str]]) -> Predictions:
        """Return everything about some images, leaving out those that cannot be read."""
        found = compute([Path(path) for path in paths], self._spaces)
        X = found.matrices[0] if len(self._spaces) == 1 else averaged(*found.matrices)
        with model_errors(self.run.path / "model"):
            scores = self._head.decision_function(X)
            self._check_finite(scores)
        space = self._spaces[0]
        last = space.split(X)["last"] if isinstance(space, BackboneSpace) else X
        return Predictions(found.paths, last, scores, softmax(scores), list(found.skipped.values()))

    def _check_finite(self, scores: NDArray[np.floating[Any]]) -> None:
        if not np.isfinite(scores).all():
            raise ValueError("its scores are not finite numbers")

    def decision_function(self, paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c), as the saved model gives them in timm.

        Raises
        ------
        UnreadableImage
            If an image cannot be read.
        """
        found = self.predict_all(paths)
        if found.skipped:
            raise found.skipped[0]
        return found.scores

    def predict_proba(self, paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.float64]:
        """Return class probabilities, (n, c); raises as :meth:`decision_function` does."""
        return softmax(self.decision_function(paths))

    @property
    def spaces(self) -> list[Space]:
        """What turns an image into the head's features; of two, the mean."""
        return self._spaces

    @property
    def head(self) -> Head:
        """What turns features into scores."""
        return self._head

    def predict(self, paths: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Return the name of each image's most probable class; raises as :meth:`decision_function` does."""
        return [self.classes[i] for i in self.decision_function(paths).argmax(axis=1)]


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
