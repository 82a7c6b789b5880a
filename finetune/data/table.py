"""A table of images: ``path,label`` and, if you like, ``split`` and ``group``.

A table is read row by row into its columns, so that one of millions of rows takes little more memory than the
paths in it.
"""

import csv
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from finetune.data.class_names import differing, match_classes, missing
from finetune.data.dataset import Dataset, Skipped
from zoo.errors import DataError
from zoo.images.scan import natural_key
from zoo.images.split_names import held_out_split, split_of
from zoo.progress import progress
from zoo.reading import parse_json

__all__ = ["cell", "read_table", "table_rows"]

_COLUMNS = ("path", "label", "split", "group")
_FORM = "Give it the columns path and label, and optionally split (train, val or test) and group."
_MOST = 10

#: Rows between two steps of the progress bar.
_STEP = 10_000


@dataclass
class _Columns:
    """The columns of a table, and the line that each row ends on; a cell that is missing is empty."""

    lines: "array[int]" = field(default_factory=lambda: array("Q"))
    path: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    group: list[str] = field(default_factory=list)


def read_table(path: Path) -> Dataset:
    """Read a table of labelled images without opening the images.

    Parameters
    ----------
    path : Path
        As for :func:`table_rows`. Relative image paths count from the table's folder; absolute ones and those
        with ``..`` are taken as they are written.

    Returns
    -------
    Dataset
        With classes in natural order. Images that are not there are among `skipped`.

    Raises
    ------
    DataError
        Naming every faulty line.
    """
    columns = _columns(path)
    if not columns.path:
        raise DataError(f"The table {path} has no rows.", _FORM)
    faults = _faults(columns)
    listed = [f"line {line}: {fault}" for line, fault in islice(faults, _MOST)]
    more = sum(1 for _ in faults)
    if listed:
        number = "a fault" if len(listed) == 1 else f"{len(listed) + more} faults"
        others = f"; and {more} more" if more else ""
        raise DataError(f"The table {path} has {number}: {'; '.join(listed)}{others}.", _FORM)
    return _dataset(path, columns)


def table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a table row by row, with a progress bar.

    Parameters
    ----------
    path : Path
        ``.csv`` (between commas, semicolons or tabs, whichever the first line has most of), ``.tsv``,
        ``.jsonl`` or ``.ndjson`` (an object a line), UTF-8. The first line of the former names the columns.

    Yields
    ------
    int
        The line that the row ends on.
    dict of str to object
        The row's cells, by column names in lower case.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    is_json = path.suffix.lower() in (".jsonl", ".ndjson")
    try:
        total = path.stat().st_size
        bar = progress("reading the table", total, "bytes")
        with path.open(encoding="utf-8-sig", newline="") as file, bar as advance:
            done = 0
            rows = _json_rows(path, file) if is_json else _csv_rows(path, file)
            for number, row in enumerate(rows, 1):
                yield row
                if number % _STEP == 0:
                    done, before = os.lseek(file.fileno(), 0, os.SEEK_CUR), done
                    advance(done - before)
    except UnicodeDecodeError as error:
        raise DataError(f"The table {path} is not UTF-8 ({error.reason}).", "Save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"The table {path} cannot be read ({error}).", "Check the file.") from error


def _csv_rows(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    first = file.readline()
    file.seek(0)
    # Spreadsheets write semicolons where the comma is in numbers.
    mark = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(file, delimiter=mark)
    names = [name.strip().lower() for name in next(reader, [])]
    for cells in reader:
        yield reader.line_num, {**dict.fromkeys(names), **dict(zip(names, cells, strict=False))}


def _json_rows(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"Line {number} of {path} is not JSON ({error}).", _FORM) from error
        if not isinstance(row, dict):
            raise DataError(f"Line {number} of {path} is not a JSON object.", _FORM)
        yield number, {name.strip().lower(): value for name, value in row.items()}


def cell(value: Any) -> str:
    """Return a cell as text, without blanks around it; a missing one is empty."""
    return "" if value is None else str(value).strip()


def _columns(path: Path) -> _Columns:
    """Read the columns that we know; rows in which all of them are empty are left out."""
    columns = _Columns()
    # Labels, splits and groups are few words that many rows repeat: each is in memory once.
    known: dict[str, str] = {}
    absent: list[str] | None = None
    for line, row in table_rows(path):
        if absent is None:
            absent = [name for name in ("path", "label") if name not in row]
            if absent and path.suffix.lower() in (".csv", ".tsv"):
                raise DataError(f"The table {path} has no column {' and no column '.join(absent)}.", _FORM)
        name, *others = (cell(row.get(name)) for name in _COLUMNS)
        if name or any(others):
            columns.lines.append(line)
            columns.path.append(name)
            for column, text in zip((columns.label, columns.split, columns.group), others, strict=True):
                column.append(known.setdefault(text, text))
    return columns


def _faults(columns: _Columns) -> Iterator[tuple[int, str]]:
    """What is wrong with which line."""
    has_splits, grouped = any(columns.split), any(columns.group)
    places = [os.path.normpath(name or ".") for name in columns.path]
    first: dict[str, int] = {}
    if len(set(places)) < len(places):  # rarely: the numbers of millions of lines take memory
        for place, line in zip(reversed(places), reversed(columns.lines), strict=True):
            first[place] = line
    for i, line in enumerate(columns.lines):
        name, split = columns.path[i], columns.split[i]
        if not name:
            yield line, "no path"
        if not columns.label[i]:
            yield line, "no label"
        if name and first.get(places[i], line) != line:
            yield line, f"{name} is in line {first[places[i]]} already"
        if has_splits and not split_of(split):
            yield line, f"the split {split!r} is none of train, val, test" if split else "no split"
        if grouped and not columns.group[i]:
            yield line, "no group"


def _dataset(path: Path, columns: _Columns) -> Dataset:
    files = [Path(path.parent, name) for name in columns.path]
    here, absent = _sorted_out(files)
    splits = _splits(path, columns)
    names, codes = _coded(columns.label)
    in_training = np.arange(len(codes)) if splits is None else np.flatnonzero(splits == "train")
    classes = sorted((names[i] for i in np.unique(codes[in_training])), key=natural_key)
    matched, notices = {name: name for name in classes}, []
    if splits is not None:
        held_out = [names[i] for i in np.unique(codes[splits == "test"])]
        matched |= match_classes(classes, held_out, str(path))
        notices = [*differing(matched), *missing(classes, (matched[name] for name in held_out))]
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[matched[name]] for name in names], dtype=np.int64)[codes]
    return Dataset(
        root=str(path),
        paths=tuple(files[i] for i in here),
        labels=labels[here],
        classes=tuple(classes),
        splits=None if splits is None else splits[here],
        splits_from="" if splits is None else "column",
        groups=np.array([columns.group[i] for i in here]) if columns.group[0] else None,
        skipped=tuple(Skipped(files[i], "no such file") for i in absent),
        notices=tuple(notices),
    )


def _sorted_out(files: list[Path]) -> tuple[NDArray[np.int64], list[int]]:
    """The places of those files that are there, and of those that are not."""
    there = np.empty(len(files), bool)
    with progress("looking for images", len(files)) as advance:
        for i, file in enumerate(files):
            there[i] = os.path.exists(file)
            if (i + 1) % _STEP == 0:
                advance(_STEP)
    return np.flatnonzero(there), np.flatnonzero(~there).tolist()


def _coded(words: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct words in the order of their first use, and each word's place among them."""
    places = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return list(places), np.fromiter((places[word] for word in words), np.int64, len(words))


def _splits(path: Path, columns: _Columns) -> NDArray[np.str_] | None:
    """``train`` or ``test`` for each row; None where the table has no split."""
    if not columns.split[0]:
        return None
    written, codes = _coded(columns.split)
    names = [str(split_of(split)) for split in written]
    held_out = held_out_split(names)
    splits = np.array(["test" if name == held_out else "train" for name in names])[codes]
    if len(np.unique(splits)) == 1:
        raise DataError(f"The column split of {path} names only one split.", _FORM)
    return splits
