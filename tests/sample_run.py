"""A made-up run, for the tests of what is done with runs."""

from pathlib import Path

import numpy as np

from finetune.data.dataset import Skipped
from finetune.evaluation.metrics import evaluate
from finetune.runs import Reference, Run, RunData, RunSplit, environment

CLASSES = ("ants", "bees", 'a "wasp" & <others>')


def predictions(classes=CLASSES, n=60):
    """Labels and probabilities of test images: mostly right, some confidently wrong."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % len(classes)
    p = rng.dirichlet(np.ones(len(classes)), n) + 0.6 * np.eye(len(classes))[y]
    return y, p / p.sum(axis=1, keepdims=True)


def make_run(path="runs/sample", classes=CLASSES, **changes):
    """A valid `Run`; `changes` replace its attributes."""
    y, p = predictions(classes)
    contents = {
        "strategy": "probe",
        "model": "efficientnet_lite0",
        "weights_sha256": "0123456789abcdef" * 4,
        "data": RunData(
            path="photos",
            n_images=100 * len(classes),
            classes=list(classes),
            counts=dict.fromkeys(classes, 100),
            skipped=[Skipped(Path("ants/<b>.jpg"), "truncated: image file is truncated")],
            fingerprint="f" * 16,
        ),
        "split": RunSplit(kind="stratified fifth", n_train=100 * len(classes) - len(y), n_test=len(y)),
        "choice": {
            "l2": 0.01,
            "cv_accuracy": 0.95,
            "cv_std": 0.01,
            "curve": [
                {
                    "l2": 10.0**e,
                    "cv_accuracy": 0.95 - 0.01 * (e + 2) ** 2,
                    "cv_std": 0.01,
                    "log_loss": 0.2 + 0.05 * (e + 2) ** 2,
                }
                for e in range(-5, 2)
            ],
        },
        "test": evaluate(y, p, classes),
        "reference": Reference(raw_pixels_accuracy=0.61, majority_accuracy=1 / len(classes)),
        "seconds": {"features": 2.5, "search": 0.4, "total": 3.1},
        "environment": environment(2, "bf16"),
        "seed": 0,
        "command": "finetune --strategy probe --data photos --seed 0",
        "path": path,
        "warnings": ["1 file was skipped."],
    }
    return Run(**{**contents, **changes})
