"""Predictions for many images: which ones, in which form, and in how much memory."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photos import crops
from PIL import Image

import finetune
from finetune.cli.app import main
from finetune.predictions import rows as rows_module
from finetune.predictions.paths import image_paths
from finetune.predictions.rows import Detail, prediction_rows
from finetune.predictions.writers import FORMATS, format_of
from finetune.trust import Knowledge
from zoo.errors import DataError, ZooError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on pixels, which needs no network."""
    root = tmp_path_factory.mktemp("predict")
    finetune.fit(data=crops(root / "photos"), strategy="raw", out=root / "run")
    return root


@pytest.fixture
def here(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(run / "photos")
    (tmp_path / "run").symlink_to(run / "run")
    return tmp_path


# Which images


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_folders_patterns_and_standard_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a/10.jpg", "a/2.jpg", "a/deep/3.png", "b/1.jpg", "b/[x].jpg", "b/.hidden.jpg")
    named = [str(path) for path in image_paths(["gone.jpg", "a", "b/[x].jpg"])]
    assert named == ["gone.jpg", "a/2.jpg", "a/10.jpg", "a/deep/3.png", "b/[x].jpg"]
    assert [str(path) for path in image_paths(["a/*.jpg"])] == ["a/2.jpg", "a/10.jpg"]
    assert [str(path) for path in image_paths(["**/*.png"])] == ["a/deep/3.png"]
    assert [str(path) for path in image_paths(["?"])] == [
        "a/2.jpg", "a/10.jpg", "a/deep/3.png", "b/1.jpg", "b/[x].jpg",
    ]  # fmt: skip
    listed = io.StringIO("b/1.jpg\n\nname with space.jpg\na\n")
    assert [str(path) for path in image_paths(["-", "b/[x].jpg"], listed)] == [
        "b/1.jpg", "name with space.jpg", "a/2.jpg", "a/10.jpg", "a/deep/3.png", "b/[x].jpg",
    ]  # fmt: skip
    assert [str(p) for p in image_paths(["-"], io.StringIO("one\nline.jpg\0b/1.jpg\0"))] == [
        "one\nline.jpg",
        "b/1.jpg",
    ]


def test_what_names_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Nothing matches \*\.jpg"):
        image_paths(["*.jpg"])
    for words in (["empty"], ["-"]):
        with pytest.raises(DataError, match="no images there"):
            image_paths(words, io.StringIO(""))


# In which form


def predicted(capsys, *words, code=0):
    assert main(["predict", "run", *words]) == code
    return capsys.readouterr()


def test_csv_has_a_row_for_every_image_in_order(here, capsys):
    (here / "note.txt").write_text("no image")
    words = ["note.txt", "photos/flower", "photos/china/0.png", "--coverage", "0.9", "--format", "csv"]
    shown = predicted(capsys, *words)
    table = list(csv.DictReader(io.StringIO(shown.out)))
    assert [row["path"] for row in table] == [
        "note.txt",
        *(f"photos/flower/{i}.png" for i in range(12)),
        "photos/china/0.png",
    ]
    assert table[0]["error"] == "not an image in a format we read"
    assert table[0]["prediction"] == ""
    one = table[1]
    assert {one["prediction"], one["prediction_2"]} == {"china", "flower"}
    assert float(one["probability"]) + float(one["probability_2"]) == pytest.approx(1, abs=2e-6)
    assert one["prediction"] in one["set"].split("; ")
    assert "1 of 14 images could not be read" in shown.err


def test_json_lines_and_the_document_say_the_same(here, capsys):
    words = ["gone.png", "photos/china", "--top", "1"]
    lines = [json.loads(line) for line in predicted(capsys, *words, "--format", "jsonl").out.splitlines()]
    assert lines[0] == {"path": "gone.png", "error": "no such file"}
    whole = json.loads(predicted(capsys, *words, "--json").out)
    assert whole["classes"] == ["china", "flower"]
    assert whole["skipped"] == [{"path": "gone.png", "reason": "no such file"}]
    assert [len(row.pop("scores")) for row in whole["predictions"]] == [2] * 12
    assert whole["predictions"] == lines[1:]
    assert len(lines[1]["top"]) == 1
    assert json.loads(predicted(capsys, "gone.png", "--json", code=2).out)["predictions"] == []


def test_text_is_aligned_and_says_what_could_not_be_read(here, capsys):
    lines = predicted(capsys, "gone.png", "photos/china").out.splitlines()
    place = lines[0].index("prediction")
    assert lines[1][place:] == "not readable   no such file"
    assert all(line[place:].startswith(("china ", "flower ")) for line in lines[2:])
    assert len(lines) == 14


def test_a_list_on_standard_input(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("photos/china/1.png\nphotos/flower/2.png\n"))
    lines = predicted(capsys, "-", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["photos/china/1.png", "photos/flower/2.png"]


def test_a_file_is_written_whole_and_not_over_another(here, capsys):
    predicted(capsys, "photos", "--out", "table.csv")
    assert len((here / "table.csv").read_text().splitlines()) == 25
    assert "exists" in predicted(capsys, "photos/china", "-o", "table.csv", code=2).err
    predicted(capsys, "photos/china", "-o", "table.csv", "--overwrite")
    assert len((here / "table.csv").read_text().splitlines()) == 13
    assert "names no format" in predicted(capsys, "photos", "-o", "table.xls", code=2).err
    assert "no folder" in predicted(capsys, "photos", "-o", "no/table.csv", code=2).err
    assert sorted(path.name for path in here.iterdir()) == ["photos", "run", "table.csv"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top", "0"], "--top is 0"),
        (["--format", "yaml"], "Choose one of text, csv"),
        (["--jsn"], "no option --jsn"),
        (["--coverage", "2"], "between 0 and 1"),
    ],
)
def test_faults_are_found_before_any_image_is_read(here, capsys, monkeypatch, words, said):
    monkeypatch.setattr("finetune.runs.predictor.compute", None)
    shown = predicted(capsys, "photos", *words, code=2)
    assert said in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("given", "out", "kind"),
    [(None, None, "text"), ("csv", None, "csv"), (None, "a.JSONL", "jsonl"), ("csv", "a.txt", "csv")],
)
def test_the_format_is_that_of_the_suffix_unless_given(given, out, kind):
    assert format_of(given, None if out is None else Path(out)) == kind


def test_a_name_that_is_no_text_can_be_written(here, capsys):
    name = os.fsdecode(b"photo\xff.png")
    Image.new("RGB", (40, 40)).save(name)
    for kind in FORMATS:
        predicted(capsys, name, "-o", f"out.{kind}", "--format", kind)
        assert r"photo\xff.png" in (here / f"out.{kind}").read_text(encoding="utf-8").replace(r"\\", "\\")


# In how much memory


def test_rows_come_chunk_by_chunk(here, monkeypatch):
    monkeypatch.setattr(rows_module, "CHUNK", 5)
    predictor = finetune.load("run")
    asked = []
    whole = type(predictor).predict_all

    def counting(self, paths):
        asked.append(len(paths))
        return whole(self, paths)

    monkeypatch.setattr(type(predictor), "predict_all", counting)
    paths = image_paths(["photos", "gone.png", "photos/china/1.png"])
    chunks = prediction_rows(predictor, paths, Knowledge(), Detail())
    assert len(next(chunks)) == 5
    assert asked == [5]
    rest = [row for chunk in chunks for row in chunk]
    assert [row["path"] for row in rest] == [str(path) for path in paths[5:]]
    assert [row["path"] for row in rest if "error" in row] == ["gone.png"]
    with pytest.raises(ZooError, match="--reject"):
        prediction_rows(predictor, paths, Knowledge(), Detail(reject=0.1))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(run, tmp_path):
    """2,000 and 20,000 small images, in processes of their own: less than 1 kB more for each."""
    peaks = {}
    rng = np.random.default_rng(0)
    for n in (2000, 20_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(n):
            # Netpbm files: eight bytes of header and the pixels.
            (folder / f"{i}.ppm").write_bytes(b"P6 8 8 255\n" + rng.integers(0, 256, 192, np.uint8).tobytes())
        words = ["predict", str(run / "run"), str(folder), "-o", "p.csv", "--overwrite"]
        code = (
            "import resource; from finetune.cli.app import main;"
            f"assert main({words!r}) == 0;"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        environment = {**os.environ, "ZOO_CACHE": str(tmp_path / f"cache-{n}")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env=environment,
        )
        peaks[n] = int(done.stdout) * 1024
        assert sum(1 for _ in (tmp_path / "p.csv").open()) == n + 1
    assert peaks[20_000] - peaks[2000] < 18_000 * 1024
