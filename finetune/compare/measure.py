"""One method measured: on the held-out images, and on the folds of the training split."""

import tempfile
import time
from pathlib import Path

import numpy as np

from finetune.compare.record import FoldScores, MethodResult
from finetune.data.plan import nested
from finetune.data.split import Folds
from finetune.evaluation.calibration import softmax
from finetune.evaluation.metrics import evaluate
from finetune.method import Fitted, Images, Method, Task
from zoo.backbone import Backbone
from zoo.writing import TEMPORARY

__all__ = ["measure"]


def measure(
    method: Method,
    task: Task,
    held_out: Images,
    outer: Folds | None,
    backbone: Backbone | None,
    scratch: Path | None = None,
) -> MethodResult:
    """Fit a method, evaluate it on the held-out images, and on every outer fold.

    Parameters
    ----------
    method : Method
    task : Task
        The training split.
    held_out : Images
        Evaluated once, after everything is chosen.
    outer : Folds or None
        Of the training split; None for no folds.
    backbone : Backbone or None
        What the features came from.
    scratch : Path, optional
        A folder in which the model may be written for a moment, to know its size; by default the system's,
        which is often too small for one.
    """
    start = time.perf_counter()
    fitted = method.fit(task, backbone)
    seconds = time.perf_counter() - start
    probabilities = softmax(fitted.decision_function(held_out))
    return MethodResult(
        name=method.name,
        model=None if backbone is None else backbone.name,
        kind=method.kind,
        test=evaluate(held_out.labels, probabilities, task.classes, held_out.groups),
        correct="".join(np.where(probabilities.argmax(axis=1) == held_out.labels, "1", "0")),
        folds=None if outer is None else _fold_scores(method, task, outer, backbone),
        seconds=round(seconds, 3),
        n_parameters=fitted.n_parameters,
        model_bytes=_saved_bytes(fitted, scratch),
        choice={key: value for key, value in fitted.choice.items() if key != "curve"},
        warnings=fitted.warnings,
    )


def _fold_scores(method: Method, task: Task, outer: Folds, backbone: Backbone | None) -> FoldScores:
    start = time.perf_counter()
    y = task.train.labels
    predictions = [
        predicted
        for repetition in nested(y, outer, task.train.groups, task.seed)
        for predicted in method.cross_validate(task, repetition, backbone)
    ]
    accuracies = [
        float((predicted == y[rows]).mean())
        for predicted, (_, rows) in zip(predictions, outer.pairs, strict=True)
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


def _saved_bytes(fitted: Fitted, scratch: Path | None) -> int:
    with tempfile.TemporaryDirectory(prefix=".model.", suffix=TEMPORARY, dir=scratch) as name:
        folder = Path(name) / "model"
        fitted.save(folder)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
