"""A finished run's classifier on new images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.evaluation.calibration import softmax
from finetune.heads.head import Head
from finetune.runs.predictions import BasePredictor, Predictions
from finetune.runs.record import Run
from finetune.runs.saved import load_head, model_errors
from zoo.backbone import Backbone
from zoo.backbone import load as load_backbone
from zoo.features.fill import compute
from zoo.features.mirror import Mirrored, averaged
from zoo.features.spaces import BackboneSpace, RawPixels, Space
from zoo.reading import read_json

__all__ = ["Predictions", "Predictor"]


class Predictor(BasePredictor):
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
            pixels, features = config.get("inputs") == "pixels", config.get("features", "last")
        if not pixels:
            backbone = load_backbone(f"local-dir:{folder}")
            with model_errors(folder):
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

    @property
    def space(self) -> Space:
        """What turns an image into what the head is given, but for :attr:`mirrored`."""
        return self._spaces[0]

    @property
    def mirrored(self) -> bool:
        """Whether the head is given the mean over an image and its mirror image."""
        return len(self._spaces) > 1

    @property
    def head(self) -> Head:
        """The head, calibrated."""
        return self._head

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
