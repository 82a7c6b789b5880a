"""Tables of images: what they may say, and what is said of faulty ones."""

import json

import pytest
from PIL import Image

from finetune.data.read import read
from zoo.errors import DataError


@pytest.fixture
def images(tmp_path):
    (tmp_path / "img").mkdir()
    for i in range(8):
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(tmp_path / "img" / f"{i}.png")
    return tmp_path


def write(folder, text, name="table.csv", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def lines(header, *extra):
    rows = [f"img/{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(8)]
    return "\n".join([header, *[row + (extra[i] if extra else "") for i, row in enumerate(rows)]])


def test_csv(images):
    found = read(write(images, lines("path,label")))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [1, 0] * 4
    assert found.names[0] == "img/0.png"
    assert found.splits is None
    assert found.groups is None


def test_a_spreadsheets_csv(images):
    """Byte-order mark, spaces, capitals in the header, blank lines, Windows line ends, another column."""
    text = " Path , Label ,note\r\n" + "\r\n".join(
        f"img/{i}.png , {'a' if i < 4 else 'b'},x" for i in range(8)
    )
    found = read(write(images, text + "\r\n,,\r\n", encoding="utf-8-sig"))
    assert found.counts == {"a": 4, "b": 4}


def test_tsv_and_jsonl(images):
    tsv = read(write(images, lines("path,label").replace(",", "\t"), "table.tsv"))
    rows = [{"path": f"img/{i}.png", "label": i % 2} for i in range(8)]
    jsonl = read(write(images, "\n".join(map(json.dumps, rows)), "table.jsonl"))
    assert tsv.classes == ("cat", "dog")
    assert jsonl.classes == ("0", "1")


def test_split_and_group(images):
    splits = [",train,s1"] * 3 + [",Test,s2"] * 2 + [",val,s3"] * 3
    found = read(write(images, lines("path,label,split,group", *splits)))
    assert (
        found.splits.tolist() == ["train"] * 3 + ["test"] * 2 + ["train"] * 3
    )  # val joins the training split
    assert found.splits_from == "column"
    assert found.groups.tolist() == ["s1"] * 3 + ["s2"] * 2 + ["s3"] * 3


def test_missing_images_are_skipped(images):
    (images / "img" / "7.png").unlink()
    found = read(write(images, lines("path,label")))
    assert len(found) == 7
    assert [(s.path.name, s.reason) for s in found.skipped] == [("7.png", "no such file")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("path,label\n", "no rows"),
        ("file,label\nimg/0.png,cat", "no column path"),
        ("file,class\nimg/0.png,cat", "no column path and no column label"),
        ("path,label\nimg/0.png,\n,dog", "line 2: no label; line 3: no path"),
        ("path,label\nimg/0.png,a\nimg/./0.png,b", "line 3: img/./0.png is in line 2 already"),
        ("path,label,split\nimg/0.png,a,train\nimg/1.png,a,late", "line 3: the split 'late'"),
        ("path,label,split\nimg/0.png,a,train\nimg/1.png,a,", "line 3: no split"),
        ("path,label,group\nimg/0.png,a,g\nimg/1.png,a,", "line 3: no group"),
        ("path,label,split\n" + "\n".join(f"img/{i}.png,{i % 2},train" for i in range(8)), "only one split"),
    ],
)
def test_faults_are_told_all_at_once(images, text, words):
    with pytest.raises(DataError) as raised:
        read(write(images, text))
    assert words in str(raised.value)


def test_paths_that_no_file_can_have_are_skipped(images):
    text = lines("path,label") + "\n" + "a" * 300 + ".png,cat\n"
    assert [s.reason for s in read(write(images, text)).skipped] == ["no such file"]


def test_not_json_and_not_utf8(images):
    with pytest.raises(DataError, match=r"Line 1 .* not JSON"):
        read(write(images, "[" * 100_000, "deep.jsonl"))
    with pytest.raises(DataError, match="Line 2"):
        read(write(images, '{"path": "img/0.png", "label": "a"}\nnonsense', "table.jsonl"))
    (images / "table.csv").write_bytes("path,label\nimg/0.png,Käfer".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read(images / "table.csv")


def test_labels_of_splits_are_matched(images):
    rows = [("dog", "train"), ("cat", "train"), ("dog", "train"), ("cat", "train"), ("Dog", "val")]
    text = "path,label,split\n" + "\n".join(f"img/{i}.png,{a},{b}" for i, (a, b) in enumerate(rows))
    found = read(write(images, text))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [1, 0, 1, 0, 1]
    assert {notice.kind for notice in found.notices} == {"class names", "missing classes"}
    with pytest.raises(DataError, match=r"'bird'.*Rename them"):
        read(write(images, text.replace("Dog", "bird")))


def test_labels_by_folder_are_not_for_tables(images):
    with pytest.raises(DataError, match="Leave it out"):
        read(write(images, lines("path,label")), "leaf")
