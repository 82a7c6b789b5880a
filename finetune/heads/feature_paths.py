"""Regularisation paths on the last features and on those of all stages, and which of them each choice takes.

The second path starts from the first: around its best values of L2, with its solutions, so that both cost
little more than the second alone.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.plan import Nested, Plan
from finetune.heads.feature_choice import FeatureChoice, choose_features
from finetune.heads.regularisation import L2Path

__all__ = ["FeaturePaths"]

Array = NDArray[np.float32]


class FeaturePaths:
    """A regularisation path on last features, one on the features of all stages, or both.

    Parameters
    ----------
    X : (n, d) array
        Features.
    n_last : int or None
        How many of the columns, the first ones, are last features; None for all.
    labels : (n,) int array
        Class indices.
    groups : (n,) array or None
        As for :func:`finetune.heads.feature_choice.choose_features`.
    features : str
        ``last``, ``stages``, or ``auto`` for a choice by cross-validation.
    plan : Plan
        Over these n rows; each of its choices is between both paths, too.
    make : callable
        Makes a path on some features.
    fit : callable
        Fits it, if there is no other to start from.
    """

    def __init__(
        self,
        X: Array,
        n_last: int | None,
        labels: NDArray[np.int64],
        groups: NDArray[Any] | None,
        features: str,
        plan: Plan,
        make: Callable[[Array], L2Path],
        fit: Callable[[L2Path], None],
    ) -> None:
        self._labels, self._groups, self._plan = labels, groups, plan
        self._paths: dict[str, L2Path] = {}
        if n_last in (None, X.shape[1]):  # there are no others, or the network names no stages
            features = "last"
        if features != "stages":
            self._paths["last"] = last = make(X[:, :n_last])
            fit(last)
        if features != "last":
            self._paths["stages"] = stages = make(X)
            if features == "auto":
                stages.fit_near(self._paths["last"])
            else:
                fit(stages)

    @cached_property
    def choices(self) -> list[FeatureChoice | None]:
        """For each choice of the plan, that between both paths; None where there is one path."""
        return [self._choose(i) for i in range(len(self._plan.choices))]

    def features(self, choice: int = 0) -> str:
        """Return what a choice takes: ``last`` or ``stages``."""
        found = self.choices[choice]
        return next(iter(self._paths)) if found is None else found.features

    def path(self, choice: int = 0) -> L2Path:
        """Return the path that a choice takes."""
        return self._paths[self.features(choice)]

    def record(self) -> dict[str, Any]:
        """Return what ``run.json`` says of a plain plan's choice."""
        found = self.choices[0]
        return {"features": self.features()} if found is None else found.record()

    def predict_outer(self, nested: Nested) -> list[NDArray[np.int64]]:
        """Predict every outer fold with the features and the L2 that are chosen inside it."""
        found: dict[int, NDArray[np.int64]] = {}
        for features, path in self._paths.items():
            some = [i for i in range(len(nested.outer)) if self.features(i) == features]
            if some:
                found |= path.predict_outer(nested, some)
        return [found[i] for i in range(len(nested.outer))]

    def _choose(self, choice: int) -> FeatureChoice | None:
        if len(self._paths) == 1:
            return None
        rows = self._plan.order(choice)
        last, stages = (self._paths[name].best(choice).held_out[choice] for name in ("last", "stages"))
        groups = None if self._groups is None else self._groups[rows]
        return choose_features(last, stages, self._labels[rows], groups)
