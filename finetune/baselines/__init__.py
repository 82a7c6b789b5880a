"""What a strategy must beat: scikit-learn's classifiers on features, and floors without a CNN.

One module a baseline, under the strategies' contract (see :mod:`finetune.strategies`), with two
things besides that strategies may have too: ``SPACE``, where it is ``pixels``, says that the task's `X`
shall be raw pixels and not features; and ``cross_validate(task, nested, options)`` predicts all outer
folds of a :class:`finetune.data.plan.Nested` faster than a fit for each of them would.
"""

__all__ = ["BASELINES", "FLOORS"]

BASELINES = ("knn", "svm")

FLOORS = ("raw", "raw-knn", "majority")
