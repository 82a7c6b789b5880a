"""From labelled images and a folder of unlabelled ones to those that should be labelled next."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from finetune.data.split import folds
from finetune.evaluation.calibration import softmax
from finetune.experiment import Experiment, Request, data_name, prepare
from finetune.labelling.choose import choose, uncertainty
from finetune.labelling.contact_sheet import contact_sheet
from finetune.method import Fitted, Images
from finetune.runs import RunFolder
from finetune.runs.plain import plain
from finetune.strategies.probe import Probe
from zoo.errors import DataError
from zoo.features.fill import Extraction, compute
from zoo.features.mirror import Mirrored, averaged
from zoo.images.scan import scan
from zoo.registry.registry import Registry

__all__ = ["LabelNext", "Suggestion", "label_next", "write_label_next"]


@dataclass(frozen=True)
class Suggestion:
    """An image to label.

    Attributes
    ----------
    path : str
    prediction : str
        The most probable class.
    probability : float
        Of that class.
    uncertainty : float
        1 less the difference between the two largest probabilities.
    """

    path: str
    prediction: str
    probability: float
    uncertainty: float


@dataclass(frozen=True)
class LabelNext:
    """Which images to label next.

    Attributes
    ----------
    images : list of Suggestion
        In the order in which to label them.
    n_labelled : int
        Images that the classifier learned from.
    n_unlabelled : int
        Different images to choose from.
    already_labelled : int
        Images of the unlabelled folder that are among the labelled ones; they were left out.
    skipped : list of dict
        ``path`` and ``reason`` of those that cannot be read.
    cv_accuracy : float
        Cross-validated accuracy of the classifier.
    """

    images: list[Suggestion]
    n_labelled: int
    n_unlabelled: int
    already_labelled: int
    skipped: list[dict[str, str]]
    cv_accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def label_next(
    request: Request,
    unlabelled: str | os.PathLike[str],
    n: int = 50,
    *,
    registry: Registry | None = None,
    log: Callable[[str], None] | None = None,
) -> LabelNext:
    """Choose images to label next: those that a probe is uncertain of, and that differ from each other.

    The probe learns from all labelled images; from the training images alone where the data bring a split.

    Parameters
    ----------
    request : Request
        The labelled images, and the network.
    unlabelled : path
        A folder of images.
    n : int, optional
        How many to choose.
    registry : Registry, optional
        Where to look the model up.
    log : callable, optional
        Given one line at a time of what the user may want to know.

    Raises
    ------
    DataError
        If `n` is below 1; the unlabelled folder is missing, has no readable image, or overlaps the labelled
        one; or a class has too few images.
    """
    if n < 1:
        raise DataError(f"-n is {n}.", "Give 1 or more.")
    files = _files(Path(unlabelled), Path(request.data))
    probe = Probe()
    experiment = prepare(request, registry=registry, log=log, methods=[probe])
    found = _read(files, experiment)
    new, known = _new(found, experiment)
    if not len(new):
        problem = f"All {known} images in {unlabelled} are labelled already."
        raise DataError(problem, "Give a folder of other images.")
    fitted, n_labelled = _fit(probe, experiment)
    images = _images(found, experiment).subset(new)
    probabilities = softmax(fitted.decision_function(images))
    chosen = choose(probabilities, images.last, n)
    return LabelNext(
        [_suggestion(images.paths[i], probabilities[i], fitted.classes) for i in chosen],
        n_labelled,
        len(new),
        known,
        [{"path": str(error.args[0]), "reason": error.reason} for error in found.skipped.values()],
        float(fitted.choice["cv_accuracy"]),
    )


class LabelNextFolder(RunFolder):
    """What ``finetune label-next`` writes."""

    record: ClassVar[str] = "label-next.csv"
    parts: ClassVar[frozenset[str]] = frozenset({"label-next.csv", "contact-sheet.jpg"})


def write_label_next(found: LabelNext, data: str, out: str | os.PathLike[str] | None = None) -> Path:
    """Write the list and the contact sheet into a folder, whole or not at all.

    Parameters
    ----------
    found : LabelNext
    data : str
        The labelled data, which a new folder is named after.
    out : path, optional
        The folder; by default a new one below ``runs``.

    Returns
    -------
    Path
        The folder, with ``label-next.csv`` and ``contact-sheet.jpg``.

    Raises
    ------
    RunError
        If it cannot be written, or something else lies there.
    """
    name = data_name(data)
    folder = LabelNextFolder(out) if out is not None else LabelNextFolder.numbered(name, "label-next")
    with folder:
        with (folder.work / "label-next.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["path", "prediction", "probability", "uncertainty"])
            for one in found.images:
                table.writerow(
                    [plain(one.path), one.prediction, f"{one.probability:.6f}", f"{one.uncertainty:.6f}"]
                )
        captions = [
            f"{place}: {one.prediction} ({one.probability:.0%})" for place, one in enumerate(found.images, 1)
        ]
        sheet = contact_sheet([Path(one.path) for one in found.images], captions)
        sheet.save(folder.work / "contact-sheet.jpg", quality=85)
    return folder.path


def _files(unlabelled: Path, data: Path) -> list[Path]:
    files = list(scan(unlabelled).files)
    here, there = unlabelled.resolve(), data.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DataError(
            f"The unlabelled folder {unlabelled} and the labelled data {data} overlap.",
            "Give a folder that lies outside of the labelled one.",
        )
    if not files:
        raise DataError(f"The folder {unlabelled} is empty.", "Give a folder that holds images.")
    return files


def _read(files: list[Path], experiment: Experiment) -> Extraction:
    space = experiment.spaces[0]
    mirrored = [Mirrored(space)] if experiment.request.tta == "mirror" else []
    found = compute(files, [space, *mirrored])
    if not len(found):
        error = next(iter(found.skipped.values()))
        raise DataError(
            f"None of the {len(files)} files in the unlabelled folder is a readable image.",
            f"The first is {error.args[0]} ({error.reason}): check the path.",
        )
    return found


def _new(found: Extraction, experiment: Experiment) -> tuple[NDArray[np.int64], int]:
    """Places of images that are not labelled, each content once, and how many are labelled already."""
    labelled, seen = set(experiment.digests), set()
    known, new = 0, []
    for place, digest in enumerate(found.digests):
        known += digest in labelled
        if digest not in labelled and digest not in seen:
            new.append(place)
        seen.add(digest)
    return np.array(new, np.int64), known


def _images(found: Extraction, experiment: Experiment) -> Images:
    X = found.matrices[0] if len(found.spaces) == 1 else averaged(*found.matrices)
    unknown = np.zeros(len(found), np.int64)
    return Images(tuple(found.paths), unknown, X, None, experiment.backbone.num_features)


def _fit(probe: Probe, experiment: Experiment) -> tuple[Fitted, int]:
    """Fit the probe to all that is labelled; how many images that is."""
    task = experiment.task(probe)
    if experiment.dataset.splits is None:
        rows = np.arange(len(experiment.dataset))
        train = experiment.images(experiment.inputs(probe), rows, experiment.backbone.num_features)
        request = experiment.request
        dealt = folds(train.labels, request.n_folds, train.groups, request.seed)
        task = replace(task, train=train, folds=dealt)
    return probe.fit(task, experiment.backbone), len(task.train)


def _suggestion(path: Path, p: NDArray[np.float64], classes: tuple[str, ...]) -> Suggestion:
    best = int(p.argmax())
    return Suggestion(str(path), classes[best], float(p[best]), float(uncertainty(p[None])[0]))
