"""Which images belong together, by a column of a table or by a pattern of their paths."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune.data.dataset import Dataset
from finetune.data.table import cell, table_rows
from zoo.errors import DataError

__all__ = ["group_by"]


def group_by(dataset: Dataset, by: str) -> Dataset:
    """Give images groups that stay together in every split and fold.

    Parameters
    ----------
    dataset : Dataset
        Of n images.
    by : str
        The name of a column, where the data is a table that has it; otherwise a regular expression,
        searched for in each image's path below the data's folder, in which the first parentheses ``(...)``
        enclose the group's name.

    Returns
    -------
    Dataset
        With `groups`.

    Raises
    ------
    DataError
        If there is no such column, the expression is faulty or has no parentheses, an image has no group, or
        all images have the same.

    Examples
    --------
    Photographs called ``anna-01.jpg``, ``anna-02.jpg``, ``ben-01.jpg``:

    >>> group_by(dataset, r"([a-z]+)-\\d+")  # doctest: +SKIP
    """
    column = _column(Path(dataset.root), by)
    if column is not None:
        found = [column.get(os.path.normpath(path), "") for path in dataset.paths]
        where = f"in the column {by!r}"
    else:
        found = _matches(dataset, by)
        where = f"by the pattern {by!r}"
    without = [name for name, group in zip(dataset.names, found, strict=True) if not group]
    if without:
        raise DataError(
            f"{len(without)} of {len(dataset)} images have no group {where}, {without[0]} for one.",
            "Name a column that is filled, or a pattern that matches every path.",
        )
    if len(set(found)) == 1:
        raise DataError(
            f"All images are in one group {where}: {found[0]!r}.",
            "Name a grouping with at least two groups, or leave --group-by out.",
        )
    return replace(dataset, groups=np.array(found))


def _matches(dataset: Dataset, by: str) -> list[str]:
    try:
        pattern = re.compile(by)
    except re.error as error:
        raise DataError(
            f"{by!r} is neither a column of {dataset.root} nor a regular expression ({error}).",
            r"Name a column, or a pattern such as '([a-z]+)-\d+'.",
        ) from error
    if not pattern.groups:
        raise DataError(
            f"{by!r} is no column of {dataset.root}, and as a regular expression it has no parentheses.",
            r"Put the group's name in parentheses, as in '([a-z]+)-\d+'.",
        )
    found = [pattern.search(name) for name in dataset.names]
    return [(match[1] or "") if match else "" for match in found]


def _column(table: Path, name: str) -> dict[str, str] | None:
    """A column's values by image file; None if the data is no table or has no such column."""
    if not table.is_file():
        return None
    column: dict[str, str] = {}
    known: dict[str, str] = {}
    for _, row in table_rows(table):
        if name.lower() in row:
            group = cell(row[name.lower()])
            place = os.path.normpath(table.parent / cell(row.get("path")))
            column[place] = known.setdefault(group, group)
    return column or None
