"""How good a classifier is, how sure one can be of that number, and whether two differ.

Everything here works on plain arrays, knows nothing of images or networks, and imports nothing
heavier than NumPy, so that a run whose features are already computed answers at once.
"""

from finetune.evaluation.calibration import fit_temperature, log_softmax, softmax
from finetune.evaluation.comparisons import Difference, Disagreement, corrected_resampled_t, holm, mcnemar
from finetune.evaluation.intervals import bootstrap, wilson
from finetune.evaluation.metrics import ClassScores, Evaluation, evaluate

__all__ = [
    "ClassScores",
    "Difference",
    "Disagreement",
    "Evaluation",
    "bootstrap",
    "corrected_resampled_t",
    "evaluate",
    "fit_temperature",
    "holm",
    "log_softmax",
    "mcnemar",
    "softmax",
    "wilson",
]
