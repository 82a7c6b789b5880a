"""From a folder of labelled images to a classifier and a number to trust.

>>> import finetune
>>> run = finetune.fit(data="photos/", strategy="probe")  # doctest: +SKIP
>>> finetune.load(run.path).predict(["a.jpg"])  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.estimators.image_classifier import ImageClassifier
    from finetune.estimators.probe_classifier import ProbeClassifier
    from finetune.runs import Run
    from finetune.runs.predictor import Predictor, load
    from finetune.train import fit

__all__ = ["ImageClassifier", "Predictor", "ProbeClassifier", "Run", "fit", "load"]

_HOMES = {
    "ImageClassifier": "finetune.estimators.image_classifier",
    "Predictor": "finetune.runs.predictor",
    "ProbeClassifier": "finetune.estimators.probe_classifier",
    "Run": "finetune.runs",
    "fit": "finetune.train",
    "load": "finetune.runs.predictor",
}


def __getattr__(name: str) -> Any:
    # Looked up when first used, so that the command line need not wait for what it does not use.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'finetune' has no attribute {name!r}")
