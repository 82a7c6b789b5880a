"""What to run after a plain probe whose images look as if more were to be had.

The rule, tried on the sets of the project (docs/auto.md): more is to be had where all of this holds.

- At least `IMAGES` training images a class: with fewer, training more than a classifier gains little.
- More than `MISTAKES` of the training images, and more than five, are predicted wrong in cross-validation:
  below, there is little left to gain, and it could not be told.
- The images are unlike ImageNet's (:mod:`finetune.likeness`).
"""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.likeness import Likeness, images_a_class, likeness

if TYPE_CHECKING:
    from finetune.experiment import Experiment
    from finetune.method import Fitted

__all__ = ["hint", "more_to_be_had"]

IMAGES, MISTAKES, FEW = 30, 0.03, 5

#: Images that the likeness is measured on; it changes little with more.
SAMPLE = 1_000

#: Without a measurement: what training an image once costs, in times of computing its features, for the
#: last stage of a network and one image of an epoch (EfficientNet-Lite0, two cores).
UPDATE = 1.5


def more_to_be_had(amount: int, wrong: int, n: int, alike: Likeness) -> bool:
    """Return whether the images look as if another strategy would be more accurate.

    Parameters
    ----------
    amount : int
        Training images of the median class.
    wrong, n : int
        Training images predicted wrong in cross-validation, and all of them.
    alike : Likeness
    """
    return amount >= IMAGES and wrong > max(FEW, MISTAKES * n) and not alike.like_imagenet


def hint(experiment: Experiment, fitted: Fitted) -> str | None:
    """Return one line: what to run next, how long it takes here, and why; None where nothing speaks for it.

    Parameters
    ----------
    experiment : Experiment
    fitted : Fitted
        The probe.
    """
    if fitted.out_of_fold is None:
        return None
    rows = experiment.split.train
    y = experiment.dataset.labels[rows]
    amount, n = images_a_class(y, len(experiment.dataset.classes)), len(rows)
    wrong = int((fitted.out_of_fold.argmax(axis=1) != y).sum())
    some = np.random.default_rng([experiment.request.seed, 6]).permutation(n)[:SAMPLE]
    X, pixels = experiment.matrices[experiment.backbone.name], experiment.matrices["pixels"]
    # The quick conditions first: the likeness costs as much as a part of the probe.
    if amount < IMAGES or wrong <= max(FEW, MISTAKES * n):
        return None
    alike = likeness(X[rows[some]], pixels[rows[some]], y[some])
    if not more_to_be_had(amount, wrong, n, alike):
        return None
    minutes = _minutes(experiment)
    data = shlex.quote(experiment.request.data)
    return (
        f"Next, try: finetune auto --data {data} --minutes {minutes} (that long here). {wrong / n:.1%} of the"
        f" training images are predicted wrong, the images are unlike ImageNet's, and {amount} a class are"
        " enough to train the network's last layers."
    )


def _minutes(experiment: Experiment) -> int:
    """Minutes that ``finetune auto`` needs to train the last layers, too."""
    from finetune.methods import make_method
    from finetune.training.speed import TrainingSpeed, network_speed, remembered_speed

    space, n = experiment.spaces[0], len(experiment.split.train)
    paths = [experiment.dataset.paths[i] for i in experiment.split.train]
    image = network_speed(space, paths)
    method: Any = make_method("last-layers")
    speed = remembered_speed(method, space.backbone)
    if speed is None:
        speed = TrainingSpeed(10.0, image, UPDATE * image, UPDATE * image / 3, 2 * image)
    options = method.options.resolved(n)
    seconds = speed.choosing(options, experiment.folds, n)
    seconds += speed.finishing(options, n, len(experiment.split.test))
    return max(1, math.ceil((1.3 * seconds + 20) / 60))
