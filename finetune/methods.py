"""Everything that can be fitted and compared, by name: strategies, baselines and references."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from finetune.baselines.knn import KNN
from finetune.baselines.majority import Majority
from finetune.baselines.raw import RawKNN, RawLinear
from finetune.baselines.svm import SVM
from finetune.errors import OptionError
from finetune.method import Method
from finetune.options import make_options
from finetune.strategies.full import Full
from finetune.strategies.kernel import KernelRidge
from finetune.strategies.last_layers import LastLayers
from finetune.strategies.probe import Probe

__all__ = ["METHODS", "find_method", "make_method"]

#: To add a method, write its class in a file of its own and name it here.
METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Majority, RawKNN, RawLinear, KNN, SVM, Probe, KernelRidge, LastLayers, Full)
}


def find_method(name: str, known: Collection[str] = tuple(METHODS)) -> type[Method]:
    """Return a method's class.

    Parameters
    ----------
    name : str
        As on the command line.
    known : collection of str, optional
        Those that may be named here.

    Raises
    ------
    OptionError
        If there is no such method, with what may have been meant.
    """
    if name not in known:
        near = difflib.get_close_matches(name, list(known), 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise OptionError(f"There is no strategy {name!r}.", f"{hint}Choose among: {', '.join(known)}.")
    return METHODS[name]


def make_method(name: str, **options: object) -> Method:
    """Return a method with its options checked.

    Parameters
    ----------
    name : str
        As on the command line.
    **options
        What the user set; ``None`` is left alone.

    Raises
    ------
    OptionError
        Naming every fault.
    """
    kind = find_method(name)
    return kind(make_options(name, kind.Options, options))
