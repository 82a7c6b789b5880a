"""Does the network get images as in its own training: their range, and the order of their colours?

The order can be told only where the network has its own classifier and colours matter to it. A network
trained on RGB is more certain of its classes on RGB than on BGR, so the entropies of its predictions on the
same images in both orders are compared. On photographs of objects the difference is clear; on hands or
drawings it is not, and then the result is unknown. Hence it warns and never fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, Status
from finetune.checks.pictures import contact_sheet
from finetune.evaluation.calibration import log_softmax
from zoo.backbone import Backbone
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace, Space
from zoo.images.decode import Box

__all__ = ["Preprocessing", "SwappedChannels"]

#: What photographs and drawings stay within: a white page under ImageNet's normalisation has a mean of 2.4.
MEAN_USUAL, MEAN_WRONG = 2.0, 3.0

#: Standard deviations; 0 to 255 without division gives some hundred, dividing twice some thousandth.
STD_USUAL, STD_WRONG = (0.2, 2.5), (0.02, 10.0)

#: Images that are drawn, and images whose colours are exchanged.
BATCH, ORDER = 32, 128

#: Standard errors by which the exchanged colours have to suit the network better (or worse).
CLEAR = 4.0

_PICTURE = "batch.png"


class SwappedChannels(Space):
    """A backbone's features of images with red and blue exchanged, decoded at the same scale.

    Parameters
    ----------
    space : BackboneSpace
        What computes them.
    """

    def __init__(self, space: BackboneSpace) -> None:
        self.width = space.width
        self._space = space

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the features depend on besides the image."""
        return {**self._space.identity, "channels": "blue, green, red"}

    @property
    def base(self) -> Space:
        """What computes the features."""
        return self._space

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller an upright JPEG may be decoded: as for the usual order."""
        return self._space.reduction(width, height)

    def prepare(self, image: Image.Image, box: Box | None = None) -> NDArray[np.uint8]:
        """Turn an RGB image into what the network expects, with the channels in reverse."""
        return np.ascontiguousarray(self._space.prepare(image, box)[..., ::-1])

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn a batch of images into features."""
        return self._space.run(batch)


class Preprocessing(Check):
    """A batch of images as the network is given them."""

    name = "preprocessing"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Check range and colour order, and draw the batch."""
        return [self._range(context), self._order(context)]

    def _range(self, context: CheckContext) -> CheckResult:
        rows = context.some_training_images(BATCH)
        pixels, preprocess = context.pixels(rows), context.experiment.backbone.preprocess
        captions = [context.dataset.classes[context.dataset.labels[i]] for i in rows]
        contact_sheet(pixels, captions).save(context.pictures / _PICTURE)
        batch = (pixels / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
        mean, std = batch.mean(axis=(0, 1, 2)), batch.std(axis=(0, 1, 2))
        status, meaning = _judge_range(mean, std)
        return self.result(
            "range",
            status,
            f"mean {_three(mean)}, std {_three(std)}",
            f"by channel: mean within ±{MEAN_USUAL:g}, std {STD_USUAL[0]:g} to {STD_USUAL[1]:g}; beyond "
            f"±{MEAN_WRONG:g} or outside {STD_WRONG[0]:g} to {STD_WRONG[1]:g} fails",
            f"{meaning} pictures/{_PICTURE} shows {len(rows)} images as the network gets them.",
            "Compare the network's mean and std (zoo show) with those of its source.",
            [
                {"channel": name, "mean": float(m), "std": float(s)}
                for name, m, s in zip(("red", "green", "blue"), mean, std, strict=True)
            ],
        )

    def _order(self, context: CheckContext) -> CheckResult:
        classifier = _own_classifier(context.experiment.backbone)
        t = None if classifier is None else _preference(context, *classifier)
        status: Status = "warn" if t is not None and t < -CLEAR else "pass"
        if t is None:
            meaning = "Unknown: the network came without a classifier. Look at the images."
        elif abs(t) <= CLEAR:
            meaning = "Unknown: colours hardly matter to the network here. Look at the images."
        else:
            exchanged = " with red and blue exchanged" if t < 0 else " as they are"
            meaning = f"The network is more certain of these images{exchanged}."
        return self.result(
            "colour order",
            status,
            t,
            f"blue, green, red not better by {CLEAR:g} standard errors",
            meaning,
            f"Look at pictures/{_PICTURE}: a program may have taken BGR for RGB (OpenCV works in BGR).",
        )


def _judge_range(mean: NDArray[np.float64], std: NDArray[np.float64]) -> tuple[Status, str]:
    def outside(low: float, high: float) -> bool:
        return bool(std.min() < low or std.max() > high)

    if np.abs(mean).max() > MEAN_WRONG or outside(*STD_WRONG):
        return "fail", "No correctly normalised images look like this: range, mean or std are wrong."
    if np.abs(mean).max() > MEAN_USUAL or outside(*STD_USUAL):
        return "warn", "This is unusual for photographs; very dark, bright or flat images give it too."
    return "pass", "This is usual for correctly normalised images."


def _own_classifier(backbone: Backbone) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return the classifier that the network came with, (c, d) and (c,), if it fits the features."""
    from safetensors import safe_open

    with safe_open(backbone.folder / "model.safetensors", "numpy") as tensors:
        names = [f"{backbone.classifier}.{kind}" for kind in ("weight", "bias")]
        if not set(names) <= set(tensors.keys()):
            return None
        W, b = (tensors.get_tensor(name).astype(np.float32) for name in names)
    W = W.reshape(len(W), -1)
    return (W, b) if W.shape[1] == backbone.num_features and len(W) > 1 else None


def _preference(context: CheckContext, W: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return by how many standard errors the network is more certain of images as they are."""
    experiment, rows = context.experiment, context.some_training_images(ORDER)
    space = experiment.spaces[0]
    found = compute([experiment.dataset.paths[i] for i in rows], [space, SwappedChannels(space)])
    negative_entropies = []
    for matrix in found.matrices:
        X = matrix[:, : experiment.backbone.num_features]
        logarithms = log_softmax(X @ W.T + b)
        negative_entropies.append((np.exp(logarithms) * logarithms).sum(axis=1))
    gain = negative_entropies[0] - negative_entropies[1]
    if len(gain) < 2 or gain.std() == 0:  # grey images are the same in any order
        return 0.0
    return float(gain.mean() / gain.std(ddof=1) * np.sqrt(len(gain)))


def _three(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
