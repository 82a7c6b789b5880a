"""One method measured: on the held-out images, and on the folds of the training part."""

import dataclasses
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.compare.record import FoldScores, MethodResult
from finetune.data.plan import Nested, nested
from finetune.data.split import Folds, folds
from finetune.evaluation.calibration import softmax
from finetune.evaluation.metrics import evaluate
from finetune.method import Images, Task, Trained
from zoo.backbone import Backbone

__all__ = ["is_quick", "measure"]


def is_quick(method: ModuleType) -> bool:
    """Return whether a method predicts all folds faster than by a fit for each."""
    return hasattr(method, "cross_validate")


def measure(
    name: str,
    method: ModuleType,
    task: Task,
    test: Images,
    outer: Folds | None,
    backbone: Backbone | None,
    groups: NDArray[Any] | None = None,
) -> MethodResult:
    """Fit a method, evaluate it on the held-out images, and on every outer fold.

    Parameters
    ----------
    name : str
        The method's name.
    method : module
        From :func:`finetune.methods.load_method`.
    task : Task
        The training part.
    test : Images
        The held-out images; looked at once, after everything is chosen.
    outer : Folds or None
        Of the training part; None for no folds.
    backbone : Backbone or None
        What the features came from.
    groups : (n,) array, optional
        Of the training images.

    Returns
    -------
    MethodResult
    """
    options = method.Options()
    start = time.perf_counter()
    trained: Trained = method.fit(task, backbone, options)
    seconds = time.perf_counter() - start
    probabilities = softmax(trained.logits(test))
    return MethodResult(
        name=name,
        model=None if backbone is None else backbone.name,
        test=evaluate(test.labels, probabilities, task.classes),
        correct="".join(np.where(probabilities.argmax(axis=1) == test.labels, "1", "0")),
        folds=None if outer is None else _fold_scores(method, task, outer, backbone, groups, options),
        seconds=round(seconds, 3),
        trained_parameters=trained.trained_parameters,
        model_bytes=_saved_bytes(trained),
        choice={key: value for key, value in trained.choice.items() if key != "curve"},
        warnings=trained.warnings,
    )


def _fold_scores(
    method: ModuleType,
    task: Task,
    outer: Folds,
    backbone: Backbone | None,
    groups: NDArray[Any] | None,
    options: Any,
) -> FoldScores:
    start = time.perf_counter()
    predictions: list[NDArray[np.int64]] = []
    y = task.train.labels
    for repetition in nested(y, outer, groups, task.seed):
        if is_quick(method):
            predictions += method.cross_validate(task, repetition, options)
        else:
            predictions += _refitted(method, task, repetition, backbone, groups, options)
    accuracies = [
        float((called == y[rows]).mean()) for called, (_, rows) in zip(predictions, outer.pairs, strict=True)
    ]
    return FoldScores(
        n_folds=outer.n_folds,
        repeats=len(outer.pairs) // outer.n_folds,
        accuracies=accuracies,
        mean=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        n_train=float(np.mean([len(train) for train, _ in outer.pairs])),
        n_test=float(np.mean([len(rows) for _, rows in outer.pairs])),
        seconds=round(time.perf_counter() - start, 3),
    )


def _refitted(
    method: ModuleType,
    task: Task,
    repetition: Nested,
    backbone: Backbone | None,
    groups: NDArray[Any] | None,
    options: Any,
) -> list[NDArray[np.int64]]:
    """Predict every outer fold by a whole fit outside it, choices included."""
    predictions = []
    for train, rows in repetition.outer:
        inside = task.train.subset(train)
        inner = folds(
            inside.labels, repetition_folds(repetition), None if groups is None else groups[train], task.seed
        )
        trained: Trained = method.fit(dataclasses.replace(task, train=inside, folds=inner), backbone, options)
        predictions.append(trained.logits(task.train.subset(rows)).argmax(axis=1))
    return predictions


def repetition_folds(repetition: Nested) -> int:
    """Return how many folds a choice inside an outer fold has."""
    return max(2, len(repetition.choices[0]))


def _saved_bytes(trained: Trained) -> int:
    with tempfile.TemporaryDirectory(prefix="finetune-") as name:
        folder = Path(name) / "model"
        trained.save(folder)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
