"""How good a classifier is, how sure one can be of that number, and what it can know of new images.

Everything here works on plain arrays and knows nothing of images or networks. SciPy and scikit-learn are
imported inside the functions that need them, so that importing this package costs no more than NumPy does.
"""

from finetune.evaluation.calibration import fit_temperature, log_losses, log_softmax, softmax
from finetune.evaluation.comparisons import (
    Contradiction,
    Difference,
    Disagreement,
    contradiction,
    corrected_resampled_t,
    holm,
    mcnemar,
    standard_error,
)
from finetune.evaluation.coverage import PredictionSets, fit_prediction_sets, groups_needed
from finetune.evaluation.intervals import AccuracyInterval, accuracy_interval, wilson
from finetune.evaluation.metrics import ClassScores, Evaluation, evaluate
from finetune.evaluation.shift import Shift, measure_shift
from finetune.evaluation.unfamiliar import Unfamiliar

__all__ = [
    "AccuracyInterval",
    "ClassScores",
    "Contradiction",
    "Difference",
    "Disagreement",
    "Evaluation",
    "PredictionSets",
    "Shift",
    "Unfamiliar",
    "accuracy_interval",
    "contradiction",
    "corrected_resampled_t",
    "evaluate",
    "fit_prediction_sets",
    "fit_temperature",
    "groups_needed",
    "holm",
    "log_losses",
    "log_softmax",
    "mcnemar",
    "measure_shift",
    "softmax",
    "standard_error",
    "wilson",
]
