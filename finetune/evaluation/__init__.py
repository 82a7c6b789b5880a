"""How good a classifier is, how sure one can be of that number, and what it can know of new images.

Everything here works on plain arrays and knows nothing of images or networks. SciPy and scikit-learn are
imported inside the functions that need them, so that importing this package costs no more than NumPy does.
"""

from finetune.evaluation.calibration import fit_temperature, log_softmax, softmax
from finetune.evaluation.comparisons import (
    Contradiction,
    Difference,
    Disagreement,
    contradiction,
    corrected_resampled_t,
    holm,
    mcnemar,
)
from finetune.evaluation.intervals import AccuracyInterval, accuracy_interval, wilson
from finetune.evaluation.metrics import ClassScores, Evaluation, evaluate

__all__ = [
    "AccuracyInterval",
    "ClassScores",
    "Contradiction",
    "Difference",
    "Disagreement",
    "Evaluation",
    "accuracy_interval",
    "contradiction",
    "corrected_resampled_t",
    "evaluate",
    "fit_temperature",
    "holm",
    "log_softmax",
    "mcnemar",
    "softmax",
    "wilson",
]
