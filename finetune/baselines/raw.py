"""A floor: the probe's classifier on an image's own colours, 32 x 32 pixels, without any CNN."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested
from finetune.heads.linear import Linear
from finetune.method import Images, Task
from finetune.strategies import probe

__all__ = ["SPACE", "Options", "Raw", "cross_validate", "fit"]

SPACE = "pixels"


@dataclass(frozen=True)
class Options:
    """Nothing to set."""


@dataclass(frozen=True, eq=False)
class Raw:
    """A fitted floor; attributes as in :class:`finetune.method.Trained`."""

    classifier: Linear
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def trained_parameters(self) -> int:
        """Weights and biases of the classifier."""
        return self.classifier.W.size + self.classifier.b.size

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Return calibrated scores, (n, c), of images whose `X` are pixels."""
        return self.classifier.scores(images.X)

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"weight": np.ascontiguousarray(self.classifier.W), "bias": self.classifier.b}
        (folder / "raw.safetensors").write_bytes(save(arrays))


def fit(task: Task, backbone: Any, options: Options) -> Raw:
    """Fit the probe's classifier to pixels.

    Parameters
    ----------
    task : Task
        Training images whose `X` are pixels.
    backbone
        Not used.
    options : Options

    Returns
    -------
    Raw
    """
    fitted = probe.fit_linear(task, backbone, probe.Options())
    return Raw(fitted.classifier, fitted.choice, fitted.log, fitted.warnings)


def cross_validate(task: Task, nested: Nested, options: Options) -> list[NDArray[np.int64]]:
    """Predict every outer fold; see :func:`finetune.strategies.probe.cross_validate`."""
    return probe.cross_validate(task, nested, probe.Options())
