"""A row for each image, some hundred images at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from finetune.trust import Knowledge

if TYPE_CHECKING:
    from finetune.runs.predictor import Predictions

__all__ = ["CHUNK", "Classifier", "Detail", "Row", "knowledge_of", "prediction_rows"]

#: Images that are predicted together; their features are in memory at once.
CHUNK = 512

Row = dict[str, Any]


class Classifier(Protocol):
    """What predicts: a run's :class:`finetune.runs.predictor.Predictor`, or an exported model."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the outputs."""

    def predict_all(self, paths: Sequence[Path]) -> Predictions:
        """Return everything about some images, leaving out those that cannot be read."""


@dataclass(frozen=True)
class Detail:
    """What a row holds besides the prediction.

    Attributes
    ----------
    top : int
        How many classes, the most probable first.
    coverage : float or None
        Also a set of classes that holds the true one with this probability.
    reject : float or None
        Also whether the image is unlike anything in training, at this level.
    """

    top: int = 3
    coverage: float | None = None
    reject: float | None = None


def knowledge_of(classifier: Any) -> Knowledge:
    """Return what a classifier stores for prediction sets and unfamiliar images.

    A run has it beside its model; an exported model brings it as its attribute `knowledge`.
    """
    own: Knowledge | None = getattr(classifier, "knowledge", None)
    return Knowledge.load(classifier.run.path / "model") if own is None else own


def prediction_rows(
    classifier: Classifier, paths: Sequence[Path], knowledge: Knowledge, detail: Detail
) -> Iterator[list[Row]]:
    """Predict images, and give out their rows as they come.

    Parameters
    ----------
    classifier : Classifier
    paths : sequence of Path
    knowledge : Knowledge
        What the model stores for prediction sets and unfamiliar images.
    detail : Detail

    Yields
    ------
    list of dict
        At most `CHUNK` rows, in the order of `paths`. A row holds ``path``, ``prediction``, ``probability``,
        ``top`` (a list of ``class`` and ``probability``) and ``scores``, and where the detail asks for them
        ``set``, ``unfamiliar`` and ``rejected``. That of an unreadable image holds ``path`` and ``error``.

    Raises
    ------
    RunError
        Before any image is read, if the model cannot give what is wanted.
    """
    if detail.coverage is not None:
        knowledge.prediction_sets(np.empty((0, len(classifier.classes))), detail.coverage)
    if detail.reject is not None:
        knowledge.check_level(detail.reject)
    return _chunks(classifier, paths, knowledge, detail)


def _chunks(
    classifier: Classifier, paths: Sequence[Path], knowledge: Knowledge, detail: Detail
) -> Iterator[list[Row]]:
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        found = classifier.predict_all(chunk)
        reasons = {str(error.args[0]): error.reason for error in found.skipped}
        readable = iter(_rows(found, classifier.classes, knowledge, detail))
        yield [
            {"path": str(path), "error": reasons[str(path)]} if str(path) in reasons else next(readable)
            for path in chunk
        ]


def _rows(
    found: Predictions, classes: Sequence[str], knowledge: Knowledge, detail: Detail
) -> list[dict[str, Any]]:
    order = (-found.scores).argsort(axis=1, kind="stable")
    rows: list[Row] = [
        {
            "path": str(path),
            "prediction": classes[best[0]],
            "probability": float(p[best[0]]),
            "top": [{"class": classes[i], "probability": float(p[i])} for i in best[: detail.top]],
            "scores": scores.tolist(),
        }
        for path, p, scores, best in zip(found.paths, found.probabilities, found.scores, order, strict=True)
    ]
    if detail.coverage is not None:
        sets = knowledge.prediction_sets(found.probabilities, detail.coverage)
        for row, members, best in zip(rows, sets, order, strict=True):
            row["set"] = [classes[i] for i in best if members[i]]
    if knowledge.unfamiliar is not None or detail.reject is not None:
        for row, p in zip(rows, knowledge.unfamiliarity(found.features).tolist(), strict=True):
            row["unfamiliar"] = p
            if detail.reject is not None:
                row["rejected"] = p <= detail.reject
    return rows
