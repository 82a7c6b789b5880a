"""What should be looked at before a long training: checks on the user's own images and network.

A check is a function of a :class:`finetune.checks.contract.Subject` that gives back findings; which there
are, and for which strategies, stands in :mod:`finetune.checks.order`.
"""

from finetune.checks.contract import Finding, Subject
from finetune.checks.record import CheckRecord
from finetune.checks.study import check

__all__ = ["CheckRecord", "Finding", "Subject", "check"]
