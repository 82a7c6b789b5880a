"""Does the network see images the way it was trained to: their range, and the order of their colours.

The order can be told only where the network has its own classifier and colours matter to it. A network
trained on RGB is surer of its classes on RGB than on BGR, so the same images are shown both ways, and the
entropy of what it says is compared image by image. On photographs of things it knows that is clear; on
hands or drawings it is not, and then nothing is said. Hence it warns and never fails.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.checks.contract import Finding, Subject
from finetune.checks.pictures import contact_sheet
from finetune.checks.spaces import SwappedChannels
from finetune.evaluation.calibration import log_softmax
from zoo.backbone import Backbone
from zoo.features.extract import compute
from zoo.images.decode import open_image

__all__ = ["check"]

#: What photographs and drawings stay within: a white page under ImageNet's normalisation has a mean of 2.4.
MEAN_USUAL, MEAN_WRONG = 2.0, 3.0

#: Deviations; 0 to 255 without division gives some hundred, dividing twice some thousandth.
DEVIATION_USUAL, DEVIATION_WRONG = (0.2, 2.5), (0.02, 10.0)

#: Pictures that are drawn, and pictures whose colours are exchanged.
BATCH, ORDER = 32, 128

#: Standard errors by which the exchanged colours have to suit the network better (or worse).
CLEAR = 4.0

_PICTURE = "batch.png"


def check(subject: Subject) -> list[Finding]:
    """Look at a batch as the network is given it.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``range`` and ``colour order``; a contact sheet of the batch is among the pictures.
    """
    return [_range(subject), _order(subject)]


def _drawn(subject: Subject, n: int) -> NDArray[np.int64]:
    """Some training images, the same for the same seed."""
    rows = np.random.default_rng(subject.seed).permutation(subject.split.train)[:n]
    return np.sort(rows)


def _range(subject: Subject) -> Finding:
    rows = _drawn(subject, BATCH)
    preprocess = subject.backbone.preprocess
    pixels = np.stack([preprocess(open_image(subject.dataset.paths[i])) for i in rows])
    captions = [subject.dataset.classes[subject.dataset.labels[i]] for i in rows]
    contact_sheet(pixels, captions).save(subject.pictures / _PICTURE)
    batch = (pixels / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
    mean, deviation = batch.mean(axis=(0, 1, 2)), batch.std(axis=(0, 1, 2))
    status, meaning = _judge_range(mean, deviation)
    return Finding(
        check="preprocessing",
        name="range",
        status=status,
        value=f"mean {_three(mean)}, deviation {_three(deviation)}",
        threshold=f"by channel: mean within ±{MEAN_USUAL:g}, deviation {DEVIATION_USUAL[0]:g} to "
        f"{DEVIATION_USUAL[1]:g}; beyond ±{MEAN_WRONG:g} or outside {DEVIATION_WRONG[0]:g} to "
        f"{DEVIATION_WRONG[1]:g} fails",
        meaning=f"{meaning} pictures/{_PICTURE} shows {len(rows)} images as the network sees them.",
        todo="" if status == "pass" else "Compare the network's mean and std (zoo show) with its source's.",
        details=[
            {"channel": name, "mean": float(m), "deviation": float(d)}
            for name, m, d in zip(("red", "green", "blue"), mean, deviation, strict=True)
        ],
    )


def _judge_range(mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> tuple[Any, str]:
    def outside(low: float, high: float) -> bool:
        return bool(deviation.min() < low or deviation.max() > high)

    if np.abs(mean).max() > MEAN_WRONG or outside(*DEVIATION_WRONG):
        return (
            "fail",
            "No picture normalised rightly looks like this: the range or the mean and std are wrong.",
        )
    if np.abs(mean).max() > MEAN_USUAL or outside(*DEVIATION_USUAL):
        return "warn", "Unusual for photographs; very dark, bright or flat pictures give this too."
    return "pass", "As of pictures that are normalised rightly."


def _order(subject: Subject) -> Finding:
    about: dict[str, Any] = {
        "check": "preprocessing",
        "name": "colour order",
        "threshold": f"blue, green, red not better by {CLEAR:g} standard errors",
    }
    classifier = _own_classifier(subject.backbone)
    if classifier is None:
        return Finding(
            **about,
            status="pass",
            value=None,
            meaning="Cannot be told: the network came without a classifier. Look at the pictures.",
        )
    t = _preference(subject, *classifier)
    if t < -CLEAR:
        return Finding(
            **about,
            status="warn",
            value=t,
            meaning="The network is surer of these images with red and blue exchanged.",
            todo=f"Look at pictures/{_PICTURE}: a program may have taken BGR for RGB (OpenCV works in BGR).",
        )
    sure = (
        "The network is surer of these images as they are."
        if t > CLEAR
        else "Cannot be told: colours hardly change how sure the network is here. Look at the pictures."
    )
    return Finding(**about, status="pass", value=t, meaning=sure)


def _own_classifier(backbone: Backbone) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The last layer that the network came with, (c, d) and (c,), if it fits the features."""
    from safetensors import safe_open

    with safe_open(backbone.folder / "model.safetensors", "numpy") as tensors:
        names = [f"{backbone.classifier}.{kind}" for kind in ("weight", "bias")]
        if not set(names) <= set(tensors.keys()):
            return None
        W, b = (tensors.get_tensor(name).astype(np.float32) for name in names)
    W = W.reshape(len(W), -1)
    return (W, b) if W.shape[1] == backbone.num_features and len(W) > 1 else None


def _preference(subject: Subject, W: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """By how many standard errors the network is surer of images as they are than in other colours."""
    rows = _drawn(subject, ORDER)
    swapped = compute([subject.dataset.paths[i] for i in rows], [SwappedChannels(subject.space)])
    rows = rows[swapped.kept]
    sureness = []
    for X in (subject.X[rows], swapped.matrices[0]):
        logarithms = log_softmax(X @ W.T + b)
        sureness.append((np.exp(logarithms) * logarithms).sum(axis=1))
    gain = sureness[0] - sureness[1]
    if len(gain) < 2 or gain.std() == 0:  # grey pictures are the same in any order
        return 0.0
    return float(gain.mean() / gain.std(ddof=1) * np.sqrt(len(gain)))


def _three(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
