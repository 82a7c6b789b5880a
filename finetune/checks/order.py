"""All checks, in their order. To add one, write its class in a file of its own and name it here."""

from __future__ import annotations

from finetune.checks.activations import Activations
from finetune.checks.contract import Check
from finetune.checks.data import Data
from finetune.checks.duplicates import Duplicates
from finetune.checks.first_loss import FirstLoss
from finetune.checks.frozen import Frozen
from finetune.checks.labels import Labels
from finetune.checks.learning_rate import LearningRate
from finetune.checks.overfit import Overfit
from finetune.checks.preprocessing import Preprocessing
from finetune.checks.shift import DataShift
from finetune.checks.shuffled import Shuffled

__all__ = ["CHECKS"]

CHECKS: tuple[Check, ...] = (
    Data(),
    Duplicates(),
    DataShift(),
    Labels(),
    Preprocessing(),
    FirstLoss(),
    Overfit(),
    LearningRate(),
    Activations(),
    Frozen(),
    Shuffled(),
)
