"""Which method is best on one's own images, how sure that is, and what to do next."""

from finetune.compare.record import Comparison, MethodResult, Pair
from finetune.compare.study import DEFAULT_METHODS, compare

__all__ = ["DEFAULT_METHODS", "Comparison", "MethodResult", "Pair", "compare"]
