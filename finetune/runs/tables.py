"""``predictions.csv`` and ``metrics.jsonl``: what a run holds line by line."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from finetune.errors import RunError
from finetune.runs.plain import finite, plain

__all__ = ["MetricsLog", "Prediction", "read_metrics", "read_predictions", "write_predictions"]


def write_predictions(
    folder: Path, paths: Sequence[str], y: Sequence[int], probabilities: Any, classes: Sequence[str]
) -> None:
    """Write ``predictions.csv``: what was called what, image by image.

    Parameters
    ----------
    folder : Path
        Where to write.
    paths : sequence of str, length n
        Test images.
    y : sequence of int, length n
        True classes.
    probabilities : array of float, shape (n, k)
        Rows sum to 1; the most probable class is the prediction.
    classes : sequence of str, length k
        Class names.
    """
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Prediction._fields)
        for path, truth, p in zip(paths, y, probabilities, strict=True):
            best = int(p.argmax())
            rows.writerow(
                (
                    plain(str(path)),
                    classes[truth],
                    classes[best],
                    f"{p[best]:.6f}",
                    str(best == truth).lower(),
                )
            )


class Prediction(NamedTuple):
    """One line of ``predictions.csv``.

    Attributes
    ----------
    path : str
        The test image.
    truth, prediction : str
        Names of the true and of the predicted class.
    probability : float
        Of the predicted class.
    correct : bool
        Whether both classes are the same.
    """

    path: str
    truth: str
    prediction: str
    probability: float
    correct: bool


def read_predictions(folder: str | os.PathLike[str]) -> list[Prediction]:
    """Read ``predictions.csv``.

    Parameters
    ----------
    folder : path
        A run folder.

    Returns
    -------
    list of Prediction
        In the order of the file.

    Raises
    ------
    RunError
        Where the file is missing or damaged.
    """
    path = Path(folder) / "predictions.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != Prediction._fields:
                raise ValueError("its columns are others")
            return [
                Prediction(
                    row["path"],
                    row["truth"],
                    row["prediction"],
                    float(row["probability"]),
                    row["correct"] == "true",
                )
                for row in rows
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({error}).", "Train again with finetune.") from error


class MetricsLog:
    """Writer of ``metrics.jsonl``: one JSON object a line, on disk at once, so that one can watch a training.

    Parameters
    ----------
    folder : Path
        Where to write.

    Examples
    --------
    >>> with MetricsLog(folder.work) as log:  # doctest: +SKIP
    ...     log.write(epoch=1, train_loss=0.71, cv_accuracy=0.93)
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "metrics.jsonl"
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self._path.open("w", encoding="utf-8", buffering=1)
        return self

    def write(self, **values: Any) -> None:
        """Append one line.

        Parameters
        ----------
        **values
            Numbers, strings, None, or lists and dictionaries of them. NaN and infinity, which JSON lacks,
            become None.
        """
        if self._file is None:
            raise ValueError("a MetricsLog writes inside a with block only")
        record = {key: finite(plain(value)) for key, value in values.items()}
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl``.

    Parameters
    ----------
    folder : path
        A run folder.

    Returns
    -------
    list of dict
        One a line; empty where the run has no such file.

    Raises
    ------
    RunError
        Where the file is damaged.
    """
    path = Path(folder) / "metrics.jsonl"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}).", "Train again with finetune.") from error
