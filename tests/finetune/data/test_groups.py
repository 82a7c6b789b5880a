"""Which images belong together, by a column or by a pattern of their paths."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data.groups import group_by
from finetune.data.read import read
from zoo.errors import DataError


@pytest.fixture
def table(tmp_path):
    rows = ["path,label,Patient,site,half"]
    for i in range(8):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{'abcd'[i // 2]}-{i}.png")
        rows.append(f"{'abcd'[i // 2]}-{i}.png,{i % 2},p{i // 3},here,{'x' if i < 5 else ' '}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path / "table.csv"


def test_a_column_in_any_case(table):
    assert group_by(read(table), "patient").groups.tolist() == ["p0"] * 3 + ["p1"] * 3 + ["p2"] * 2


def test_a_pattern(table):
    assert group_by(read(table), r"([a-d])-\d").groups.tolist() == [*"aabbccdd"]


def test_groups_follow_the_images(table):
    chosen = group_by(read(table), "patient").subset(np.array([7, 0]))
    assert chosen.groups.tolist() == ["p2", "p0"]


@pytest.mark.parametrize(
    ("by", "problem", "next_step"),
    [
        (
            "half",
            "3 of 8 images have no group in the column 'half', c-5.png for one",
            "column that is filled",
        ),
        ("site", "All images are in one group in the column 'site': 'here'", "leave --group-by out"),
        (r"(e)-", "8 of 8 images have no group by the pattern", "matches every path"),
        (r"(\.png)", "All images are in one group by the pattern", "at least two groups"),
        ("(a", "neither a column of", "Name a column"),
        ("clinic", "no column of .* no parentheses", "in parentheses"),
    ],
)
def test_faults_say_what_to_do(table, by, problem, next_step):
    with pytest.raises(DataError, match=problem) as raised:
        group_by(read(table), by)
    assert next_step in raised.value.next_step


def test_the_data_are_untouched(table):
    before = {path.name: path.read_bytes() for path in Path(table).parent.iterdir()}
    group_by(read(table), "patient")
    assert {path.name: path.read_bytes() for path in Path(table).parent.iterdir()} == before
