"""Which images show one thing: copies, altered copies, neighbouring frames, exposures of one object.

Where such images lie on both sides of a split, a measured accuracy is of images already seen. docs/copies.md
says how they are found and how well.
"""

from finetune.data.copies.copies import Copies, Pair, SmallClass, label_conflicts, small_classes
from finetune.data.copies.find import find_copies

__all__ = ["Copies", "Pair", "SmallClass", "find_copies", "label_conflicts", "small_classes"]
