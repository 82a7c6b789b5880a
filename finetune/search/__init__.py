"""The search for a method's options: many short trials, and a few cross-validated ones.

Only the training split takes part: a search is a method like any other, given a
:class:`finetune.method.Task` that holds no other images.
"""

from finetune.search.search import SEARCHABLE, Search, SearchOptions

__all__ = ["SEARCHABLE", "Search", "SearchOptions"]
