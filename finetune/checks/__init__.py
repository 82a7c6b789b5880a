"""Checks of the images, their labels and the training, before much time is spent on a training.

A check is a class under the contract of :mod:`finetune.checks.contract`; :mod:`finetune.checks.order` lists
them.
"""

from finetune.checks.contract import CheckResult
from finetune.checks.record import CheckRecord
from finetune.checks.study import check

__all__ = ["CheckRecord", "CheckResult", "check"]
