"""Rows of predictions as text, CSV, JSON lines or one JSON document, each written as it comes."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from finetune.errors import OptionError
from finetune.predictions.rows import Detail, Row
from finetune.runs.plain import plain
from zoo.cli.console import printable
from zoo.images.scan import as_text

__all__ = ["FORMATS", "Writer", "format_of"]


class Writer(ABC):
    """Writes rows to a text file.

    Parameters
    ----------
    file : text file
    classes : sequence of str
        In the order of the scores.
    paths : sequence of Path
        All images whose rows will come, for the width of a column.
    detail : Detail
        What rows hold.

    Attributes
    ----------
    counts : dict of str to int
        How many rows there were so far: ``predicted``, ``rejected``, ``unreadable``.
    """

    def __init__(self, file: TextIO, classes: Sequence[str], paths: Sequence[Path], detail: Detail) -> None:
        self.file, self.classes, self.paths, self.detail = file, classes, paths, detail
        self.counts = {"predicted": 0, "rejected": 0, "unreadable": 0}
        self._begun = False

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows, so that whoever reads the file has them at once; the heading before the first.

        A model that turns out to be damaged with the first images has then written nothing.
        """
        self._begin_once()
        for row in rows:
            self.counts["unreadable" if "error" in row else "predicted"] += 1
            self.counts["rejected"] += bool(row.get("rejected"))
            self.row(plain({**row, "path": as_text(row["path"])}))
        self.file.flush()

    def close(self) -> None:
        """Write what stands below the last row."""
        self._begin_once()
        self.end()

    def _begin_once(self) -> None:
        if not self._begun:
            self._begun = True
            self.begin()

    @abstractmethod
    def row(self, row: Row) -> None:
        """Write one row."""

    def begin(self) -> None:  # noqa: B027
        """Write what stands above the rows: by default nothing."""

    def end(self) -> None:  # noqa: B027
        """Write what stands below the rows: by default nothing."""


class TextWriter(Writer):
    """For people: columns of text."""

    def begin(self) -> None:
        """Write the heading; columns are as wide as the longest path and class name."""
        coverage, name = self.detail.coverage, max(map(len, self.classes), default=0) + len(" 100.0%")
        also = 0 if coverage is None else (min(self.detail.top, len(self.classes)) - 1) * (name + len(", "))
        longest = max((len(str(path)) for path in self.paths), default=0)
        self._widths = max(longest, len("image")), max(name, len("none of these")), max(also, len("also"))
        last = [] if coverage is None else [f"set with {coverage:.0%} coverage"]
        self._line("image", "prediction", "also", *last)

    def row(self, row: Row) -> None:
        """Write one line."""
        if "error" in row:
            self._line(row["path"], "not readable", row["error"])
            return
        best, *others = row["top"]
        prediction = f"{best['class']} {best['probability']:.1%}"
        also = ", ".join(f"{other['class']} {other['probability']:.1%}" for other in others)
        if row.get("rejected"):
            prediction, also = "none of these", f"unlike training (p = {row['unfamiliar']:.2g})"
        self._line(row["path"], prediction, also, *([", ".join(row["set"])] if "set" in row else []))

    def end(self) -> None:
        """Say how many images were rejected."""
        if self.detail.reject is not None:
            n, of = self.counts["rejected"], self.counts["predicted"]
            self.file.write(f"{n} of {of} images are unlike anything in training.\n")

    def _line(self, path: str, prediction: str, *others: str) -> None:
        # Names may hold codes that act on a terminal.
        cells = [printable(cell) for cell in (path, prediction, *others)]
        padded = [cell.ljust(width) for cell, width in zip(cells, (*self._widths, 0), strict=False)]
        self.file.write("  ".join(padded).rstrip() + "\n")


class CSVWriter(Writer):
    """A table with one line an image; the classes of a set are divided by semicolons."""

    def begin(self) -> None:
        """Write the names of the columns."""
        columns = ["path", "prediction", "probability"]
        places = range(2, min(self.detail.top, len(self.classes)) + 1)
        columns += [name for place in places for name in (f"prediction_{place}", f"probability_{place}")]
        columns += [] if self.detail.coverage is None else ["set"]
        columns += ["unfamiliar"] if self.detail.reject is not None else []
        columns += ["rejected"] if self.detail.reject is not None else []
        self._table = csv.DictWriter(
            self.file, [*columns, "error"], extrasaction="ignore", lineterminator="\n"
        )
        self._table.writeheader()

    def row(self, row: Row) -> None:
        """Write one line."""
        cells = {name: value for name, value in row.items() if name != "top"}
        for place, one in enumerate(row.get("top", []), 1):
            cells |= {
                f"prediction_{place}": one["class"],
                f"probability_{place}": f"{one['probability']:.6f}",
            }
        if "probability" in row:
            cells["probability"] = f"{row['probability']:.6f}"
        if "set" in row:
            cells["set"] = "; ".join(row["set"])
        if "unfamiliar" in row:
            cells["unfamiliar"] = f"{row['unfamiliar']:.6g}"
        if "rejected" in row:
            cells["rejected"] = str(row["rejected"]).lower()
        self._table.writerow(cells)


class JSONLinesWriter(Writer):
    """One JSON object a line, an image each."""

    def row(self, row: Row) -> None:
        """Write one line; scores, whose classes it does not name, are left out."""
        kept = {name: value for name, value in row.items() if name != "scores"}
        self.file.write(_json(kept) + "\n")


class JSONWriter(Writer):
    """One JSON document: the classes, the predictions, and the images that cannot be read."""

    def begin(self) -> None:
        """Write all that stands before the first prediction."""
        self._skipped: list[Row] = []
        self._divider = "\n"
        self.file.write(f'{{"classes": {_json(list(self.classes))},\n"predictions": [')

    def row(self, row: Row) -> None:
        """Write one prediction; what cannot be read is listed at the end."""
        if "error" in row:
            self._skipped.append({"path": row["path"], "reason": row["error"]})
            return
        self.file.write(f"{self._divider}{_json(row)}")
        self._divider = ",\n"

    def end(self) -> None:
        """Write what cannot be read."""
        self.file.write(f'],\n"skipped": {_json(self._skipped)}}}\n')


FORMATS: dict[str, type[Writer]] = {
    "text": TextWriter,
    "csv": CSVWriter,
    "jsonl": JSONLinesWriter,
    "json": JSONWriter,
}

_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".txt": "text"}


def format_of(given: str | None, out: Path | None) -> str:
    """Return the format that a user means: the one given, or the one that a file's suffix names.

    Raises OptionError if it is unknown.
    """
    if given is not None or out is None:
        wanted = given or "text"
        if wanted not in FORMATS:
            raise OptionError(f"--format is {wanted!r}.", f"Choose one of {', '.join(FORMATS)}.")
        return wanted
    if out.suffix.lower() not in _SUFFIXES:
        raise OptionError(
            f"The suffix of {out} names no format.", f"Add --format, or end it in {', '.join(_SUFFIXES)}."
        )
    return _SUFFIXES[out.suffix.lower()]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
