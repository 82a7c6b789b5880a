"""The search for a training's settings: from many short trials to a few long ones.

Only the training part takes part: a search is a strategy like any other (:mod:`finetune.search.method`),
given a :class:`finetune.method.Task` that holds no other images.
"""

from finetune.search.method import Searching
from finetune.search.stages import Budget

__all__ = ["Budget", "Searching"]
