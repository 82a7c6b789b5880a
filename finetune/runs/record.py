"""``run.json``: its keys, reading it, writing it."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from finetune.data.dataset import Skipped
from finetune.data.notices import Notice
from finetune.errors import RunError
from finetune.evaluation.comparisons import Contradiction
from finetune.evaluation.metrics import Evaluation
from finetune.evaluation.shift import Shift
from finetune.runs.machine import Environment
from finetune.runs.plain import PlainModel
from zoo.reading import read_json

__all__ = [
    "SCHEMA",
    "DataCopies",
    "Leaderboard",
    "LeaderboardRow",
    "NotTried",
    "Reference",
    "Run",
    "RunData",
    "RunSplit",
    "read_record",
]

SCHEMA = 1
"""Version of ``run.json``; it rises whenever a key is added, removed or changes its meaning."""


class DataCopies(PlainModel):
    """Images that show one thing.

    Attributes
    ----------
    pairs : int
        Pairs that were found, enough to connect each group.
    groups : int
        Groups of more than one image.
    images : int
        Images in them.
    held_out_with_copy : int
        Held-out images with a copy in training.
    """

    pairs: int
    groups: int
    images: int
    held_out_with_copy: int


class RunData(PlainModel):
    """The images a run was made from.

    Attributes
    ----------
    path : str
        Folder or table as the user gave it.
    n_images : int
        Usable images, training and test together.
    classes : list of str
        In the order of the model's outputs.
    counts : dict of str to int
        Usable images per class, in the order of `classes`.
    skipped : list of Skipped
        Files that are not usable images, relative to the data folder where possible.
    ignored : int
        Files and folders that were not read: hidden ones, system files, files beside the class folders.
    notices : list of Notice
        What else is in the folder.
    copies : DataCopies or None
        Images that show one thing.
    fingerprint : str
        Hash over images and labels: equal fingerprints mean equal data.
    """

    path: str
    n_images: int
    classes: list[str]
    counts: dict[str, int]
    skipped: list[Skipped]
    ignored: int = 0
    notices: list[Notice] = Field(default_factory=list)
    copies: DataCopies | None = None
    fingerprint: str

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if list(self.counts) != self.classes:
            raise ValueError("counts must name the classes, in their order")
        if sum(self.counts.values()) != self.n_images:
            raise ValueError("counts must add up to n_images")
        return self


class RunSplit(PlainModel):
    """How training and test images were separated.

    Attributes
    ----------
    kind : str
        Where the split comes from, for instance the data's own folders or a stratified fifth.
    n_train, n_test : int
        Number of images in either split.
    n_groups : int or None
        Groups of all images; None where every image stands for itself.
    """

    kind: str
    n_train: int
    n_test: int
    n_groups: int | None = None


class Reference(PlainModel):
    """What is reached without any pretrained network, on the same test images.

    Attributes
    ----------
    raw_pixels_accuracy : float or None
        Of a linear classifier on small raw images; None where it wasn't computed.
    majority_accuracy : float
        Of predicting the class that is most frequent in training.
    """

    raw_pixels_accuracy: float | None
    majority_accuracy: float


class LeaderboardRow(PlainModel):
    """A candidate that was tried.

    Attributes
    ----------
    name : str
        For people.
    strategy : str
    model : str or None
        The network; None for a reference on pixels.
    options : dict
        The strategy's, where they differ from its defaults.
    status : str
        ``chosen``; ``alike`` where its loss is within one standard error of the lowest; ``behind``; or
        ``dropped`` where it was given up early.
    reason : str
        Why it was dropped.
    accuracy, ci95 : float, tuple of float
        On training images by classifiers that were not fitted to them.
    log_loss : float
        Of the same.
    n_images : int
        How many these are: all training images, or those of the inner part of a training.
    seconds : float
        To choose and fit, without computing features.
    milliseconds : float
        To predict one image here, from the file on.
    """

    name: str
    strategy: str
    model: str | None
    options: dict[str, JsonValue]
    status: str
    reason: str = ""
    accuracy: float
    ci95: tuple[float, float]
    log_loss: float
    n_images: int
    seconds: float
    milliseconds: float

    @property
    def remark(self) -> str:
        """What people read of the status."""
        return {"alike": "≈ best", "behind": ""}.get(self.status, self.status)


class NotTried(PlainModel):
    """A candidate that was not tried.

    Attributes
    ----------
    name : str
    reason : str
    """

    name: str
    reason: str


class Leaderboard(PlainModel):
    """All that ``finetune auto`` tried, and how the run's classifier was chosen.

    Attributes
    ----------
    minutes, spent : float
        The time that was given, and the seconds that were used.
    stopped : bool
        Whether it was stopped from the keyboard.
    rows : list of LeaderboardRow
        The chosen one first, then by log loss.
    not_tried : list of NotTried
    judged_on : str
        What the accuracies of the chosen one rest on: ``cross-validation`` or ``inner validation``.
    accuracy, ci95 : float, tuple of float
        Of the chosen one, corrected for having been chosen (:mod:`finetune.evaluation.selection`).
    uncorrected : float
        Without the correction.
    probe_accuracy, probe_ci95 : float, tuple of float
        Of the plain probe on the held-out images, for the record.
    beats_probe : bool
        Whether the chosen one's log loss is lower than the plain probe's by more than one standard error.
    verdict : str
        In words.
    command : str
        What trains the chosen one alone.
    """

    minutes: float
    spent: float
    stopped: bool
    rows: list[LeaderboardRow]
    not_tried: list[NotTried]
    judged_on: str
    accuracy: float
    ci95: tuple[float, float]
    uncorrected: float
    probe_accuracy: float
    probe_ci95: tuple[float, float]
    beats_probe: bool
    verdict: str
    command: str


class Run(PlainModel):
    """A finished run, as ``run.json`` holds it.

    Attributes
    ----------
    schema_version : int
        The key ``schema``: version of this format.
    strategy : str
        What was trained: ``probe``, ``last-layers``, ...
    model : str
        Name of the pretrained network.
    weights_sha256 : str
        Digest of its weights file.
    data : RunData
    split : RunSplit
    choice : dict
        What was chosen inside the training split, always with ``cv_accuracy`` and ``cv_std`` (None where
        nothing was cross-validated).
    test : Evaluation
        Measured once, on the test images.
    reference : Reference
    shift : Shift or None
        None unless the data bring their own split.
    contradiction : Contradiction or None
        None where not every training image has an out-of-fold prediction.
    seconds : dict of str to float
        Wall-clock time by phase, and ``total``.
    environment : Environment
    view : str
        What the network sees of an image: its ``crop``, or the ``whole``.
    tta : str
        What features are averaged over: ``none``, or ``mirror`` for an image and its mirror image.
    seed : int
    command : str
        The command that repeats the run, without its ``--out``.
    created : str
        When, ISO 8601 in UTC.
    path : Path
        The run's folder: where it was written to or, once loaded, where it was found.
    warnings : list of str
        What the user should know before trusting the numbers.
    leaderboard : Leaderboard or None
        After ``finetune auto``: what else was tried.
    hint : str or None
        After a plain probe whose images look as if more were to be had: what to run next, and why.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    strategy: str
    model: str
    weights_sha256: str
    data: RunData
    split: RunSplit
    choice: dict[str, JsonValue]
    test: Evaluation
    reference: Reference
    shift: Shift | None = None
    contradiction: Contradiction | None = None
    seconds: dict[str, float]
    environment: Environment
    view: str = "crop"
    tta: str = "none"
    seed: int
    command: str
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    path: Path
    warnings: list[str] = Field(default_factory=list)
    leaderboard: Leaderboard | None = None
    hint: str | None = None

    @field_validator("choice")
    @classmethod
    def _check_choice(cls, choice: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if not {"cv_accuracy", "cv_std"} <= choice.keys():
            raise ValueError(
                "choice must hold cv_accuracy and cv_std, None where nothing was cross-validated"
            )
        return choice

    @field_validator("seconds")
    @classmethod
    def _check_seconds(cls, seconds: dict[str, float]) -> dict[str, float]:
        if "total" not in seconds:
            raise ValueError("seconds must hold total")
        return seconds

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        k = len(self.data.classes)
        if (
            list(self.test.per_class) != self.data.classes
            or [len(row) for row in self.test.confusion] != [k] * k
        ):
            raise ValueError("test must cover exactly the classes of data, in their order")
        return self

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a finished run.

        Parameters
        ----------
        folder : path
            A run folder, or the ``run.json`` in it.

        Returns
        -------
        Run
            With `path` where it was found.

        Raises
        ------
        RunError
            Where there is no such folder, or it holds no run that this version can read.
        """
        path = Path(folder)
        if path.name == "run.json" and path.is_file():
            path = path.parent
        record = read_record(path)
        try:
            return cls.model_validate({**record, "path": path})
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "its contents"
            raise RunError(
                f"{path / 'run.json'} is damaged: {where}: {fault['msg']}.", "Train again with finetune."
            ) from error

    def to_json(self) -> str:
        """Write the run as JSON text.

        Returns
        -------
        str
            Keys in the order of the attributes, indented; arrays of numbers stand on one line.
        """
        return _one_line_arrays(self.model_dump_json(by_alias=True, indent=2)) + "\n"

    def without_times(self) -> dict[str, Any]:
        """Everything that a repetition with the same seed on the same machine must find again.

        Returns
        -------
        dict
            The contents of ``run.json`` but for ``seconds``, ``created`` and ``path``.
        """
        return self.model_dump(mode="json", by_alias=True, exclude={"seconds", "created", "path"})


def read_record(folder: Path, name: str = "run.json") -> dict[str, Any]:
    """Read ``run.json`` and make sure that it is ours and of this version.

    Parameters
    ----------
    folder : Path
        A run folder.
    name : str, optional
        The record's file, where it is another.

    Returns
    -------
    dict
        Its contents, not yet validated further.

    Raises
    ------
    RunError
        Where it is missing, unreadable, no JSON, foreign, or of another schema.
    """
    path = folder / name
    train = "Train one with finetune --data DIR --out DIR, or name another folder."
    try:
        record = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        problem = (
            f"{folder} is not a run folder: it has no {name}."
            if folder.exists()
            else f"There is no {folder}."
        )
        raise RunError(problem, train) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}).", "Check the permissions.") from error
    except ValueError as error:
        raise RunError(
            f"{path} is damaged: it is not JSON ({error}).", "Train again with finetune."
        ) from error
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int) or "strategy" not in record:
        raise RunError(f"{path} wasn't written by finetune.", train)
    if record["schema"] != SCHEMA:
        raise RunError(
            f"{path} has schema {record['schema']}; this version of finetune reads schema {SCHEMA}.",
            "Read it with the version that wrote it, or train again.",
        )
    return record


def _one_line_arrays(text: str) -> str:
    """Put arrays of numbers on one line each; a confusion matrix is unreadable otherwise.

    The pattern starts with a line break, which JSON's strings hold only escaped: names are never touched.
    """
    number = r"-?\d[\d.eE+-]*"
    pattern = rf"\[\n\s*({number}(?:,\n\s*{number})*)\n\s*\]"
    return re.sub(pattern, lambda found: "[" + re.sub(r",\s+", ", ", found[1]) + "]", text)
