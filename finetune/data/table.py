"""A table of images: ``path,label`` and, if you like, ``split`` and ``group``."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.class_names import differing, match_classes, missing
from finetune.data.dataset import Dataset, Skipped
from zoo.errors import DataError
from zoo.images.scan import natural_key
from zoo.images.split_names import held_out_split, split_of

__all__ = ["read_table"]

_COLUMNS = ("path", "label", "split", "group")
_FORM = "Give it the columns path and label, and optionally split (train, val or test) and group."
_MOST = 10


def read_table(path: Path) -> Dataset:
    """Read a table of labelled images without opening the images.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.tsv`` (first line: the names of the columns), ``.jsonl`` or ``.ndjson`` (an object a
        line), UTF-8. Relative image paths count from the table's folder.

    Returns
    -------
    Dataset
        With classes in natural order. Images that are not there are among `skipped`.

    Raises
    ------
    DataError
        Naming every faulty line.
    """
    rows = list(_rows(path))
    if not rows:
        raise DataError(f"The table {path} has no rows.", _FORM)
    faults = [f"line {line}: {fault}" for line, fault in _faults(rows)]
    if faults:
        listed = "; ".join(faults[:_MOST])
        more = f"; and {len(faults) - _MOST} more" if len(faults) > _MOST else ""
        number = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise DataError(f"The table {path} has {number}: {listed}{more}.", _FORM)
    return _dataset(path, [row for _, row in rows])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's line number and values; cells are stripped, missing ones empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                yield from _json_rows(path, file)
                return
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            columns = [name.strip().lower() for name in reader.fieldnames or []]
            missing = [name for name in ("path", "label") if name not in columns]
            if columns and missing:
                raise DataError(f"The table {path} has no column {' and no column '.join(missing)}.", _FORM)
            reader.fieldnames = columns
            for row in reader:
                values = {name: (row.get(name) or "").strip() for name in _COLUMNS if name in row}
                if any(values.values()):
                    yield reader.line_num, values
    except UnicodeDecodeError as error:
        raise DataError(f"The table {path} is not UTF-8 ({error.reason}).", "Save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"The table {path} cannot be read ({error}).", "Check the file.") from error


def _json_rows(path: Path, lines: Any) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"Line {number} of {path} is not JSON ({error}).", _FORM) from error
        if not isinstance(row, dict):
            raise DataError(f"Line {number} of {path} is not a JSON object.", _FORM)
        values = {
            name: "" if row[name] is None else str(row[name]).strip() for name in _COLUMNS if name in row
        }
        yield number, values


def _faults(rows: list[tuple[int, dict[str, str]]]) -> Iterator[tuple[int, str]]:
    """What is wrong with which line."""
    has_splits = any(row.get("split") for _, row in rows)
    grouped = any(row.get("group") for _, row in rows)
    first: dict[str, int] = {}
    for line, row in rows:
        for name in ("path", "label"):
            if not row.get(name):
                yield line, f"no {name}"
        place = os.path.normpath(row.get("path") or ".")
        if row.get("path") and place in first:
            yield line, f"{row['path']} is in line {first[place]} already"
        first.setdefault(place, line)
        split = row.get("split", "")
        if has_splits and not split_of(split):
            yield line, f"the split {split!r} is none of train, val, test" if split else "no split"
        if grouped and not row.get("group"):
            yield line, "no group"


def _dataset(path: Path, rows: list[dict[str, str]]) -> Dataset:
    files = [Path(os.path.normpath(path.parent / row["path"])) for row in rows]
    here = [i for i, file in enumerate(files) if os.path.exists(file)]
    absent = sorted(set(range(len(rows))) - set(here))
    splits = _splits(path, rows)
    labels = np.array([row["label"] for row in rows])
    training = labels if splits is None else labels[splits == "train"]
    classes = sorted(set(training.tolist()), key=natural_key)
    matched, notices = {name: name for name in classes}, []
    if splits is not None:
        matched |= match_classes(classes, dict.fromkeys(labels[splits == "test"].tolist()), str(path))
        notices = [*differing(matched), *missing(classes, (matched[x] for x in labels[splits == "test"]))]
    index = {name: i for i, name in enumerate(classes)}
    return Dataset(
        root=str(path),
        paths=tuple(files[i] for i in here),
        labels=np.array([index[matched[labels[i]]] for i in here], dtype=np.int64),
        classes=tuple(classes),
        splits=None if splits is None else splits[here],
        splits_from="" if splits is None else "column",
        groups=np.array([rows[i]["group"] for i in here]) if rows[0].get("group") else None,
        skipped=tuple(Skipped(files[i], "no such file") for i in absent),
        notices=tuple(notices),
    )


def _splits(path: Path, rows: list[dict[str, str]]) -> NDArray[np.str_] | None:
    """``train`` or ``test`` for each row; None where the table has no split."""
    if not rows[0].get("split"):
        return None
    names = [str(split_of(row["split"])) for row in rows]
    held_out = held_out_split(names)
    splits = np.array(["test" if name == held_out else "train" for name in names])
    if len(set(splits.tolist())) == 1:
        raise DataError(f"The column split of {path} names only one split.", _FORM)
    return splits
