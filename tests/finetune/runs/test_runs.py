"""The run folder is there whole or not at all, and nothing that isn't a run is ever touched."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sample_run import CLASSES, make_run, predictions

from finetune.errors import RunError
from finetune.runs import (
    PARTS,
    MetricsLog,
    Run,
    RunFolder,
    check_out,
    environment,
    read_metrics,
    read_predictions,
    write_predictions,
)
from zoo.errors import ZooError

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "run-folder.md"


def write(out, **changes):
    """Write a run to a folder."""
    with RunFolder(out) as folder:
        folder.write(make_run(folder.path, **changes))
    return folder.path


def listing(folder):
    return sorted(entry.name for entry in Path(folder).iterdir())


# Writing and reading


def test_a_run_comes_back_as_it_was_written(tmp_path):
    path = write(tmp_path / "deep" / "run")
    run = Run.load(path)
    assert run == make_run(path, created=run.created)
    assert run.path == path
    lo, hi = run.test.ci95
    assert lo < run.test.accuracy < hi
    assert run.test.per_class["bees"].support == 20
    assert listing(path.parent) == ["run"]


def test_a_run_is_found_by_its_record_too_and_after_it_was_moved(tmp_path):
    write(tmp_path / "a").rename(tmp_path / "b")
    assert Run.load(tmp_path / "b" / "run.json").path == tmp_path / "b"


def test_the_record_has_the_promised_keys(tmp_path):
    record = json.loads((write(tmp_path / "run") / "run.json").read_text(encoding="utf-8"))
    assert record["schema"] == 1
    promised = {
        "data": {
            *("path", "n_images", "classes", "counts", "skipped", "ignored", "notices", "copies"),
            "fingerprint",
        },
        "split": {"kind", "n_train", "n_test", "n_groups"},
        "test": {
            *("n", "accuracy", "ci95", "balanced_accuracy", "macro_f1"),
            *("log_loss", "ece", "confusion", "per_class", "ci_method", "n_groups", "n_effective"),
            "without_copies",
        },
        "reference": {"raw_pixels_accuracy", "majority_accuracy"},
    }
    assert {key: set(record[key]) for key in promised} == promised
    assert {"strategy", "model", "weights_sha256", "choice", "seconds", "environment", "seed", "path"} <= set(
        record
    )


def test_every_key_is_documented():
    text = DOCUMENTATION.read_text(encoding="utf-8")
    schema = Run.model_json_schema(by_alias=True, mode="serialization")
    keys = set(schema["properties"]).union(
        *(part["properties"] for part in schema["$defs"].values() if "properties" in part)
    )
    assert {key for key in keys if f"`{key}`" not in text} == set()
    assert {part for part in PARTS if f"`{part}" not in text} == set()


def test_two_runs_with_one_seed_differ_in_times_and_place_only(tmp_path):
    one = Run.load(write(tmp_path / "one", seconds={"total": 1.0}))
    two = Run.load(write(tmp_path / "two", seconds={"total": 2.0}))
    assert one != two
    assert one.without_times() == two.without_times()


def test_numpy_numbers_paths_and_odd_file_names_become_plain(tmp_path):
    run = make_run(
        tmp_path,
        seed=np.int64(3),
        choice={"cv_accuracy": np.float32(0.5), "cv_std": None, "ks": np.arange(2)},
    )
    assert json.loads(run.to_json())["choice"] == {"cv_accuracy": 0.5, "cv_std": None, "ks": [0, 1]}
    bytes_no_text = os.fsdecode(b"\xff.jpg")
    assert (
        run.data.model_copy().model_validate({**run.data.model_dump(), "path": Path(bytes_no_text)}).path
        == "\ufffd.jpg"
    )


def test_class_names_that_look_like_json_survive(tmp_path):
    classes = ("[1,  2]", "[\n 1\n]", "ü")
    assert Run.load(write(tmp_path / "run", classes=classes)).data.classes == list(classes)


@pytest.mark.parametrize(
    "changes",
    [
        {"typo": 1},
        {"seconds": {"features": 1.0}},
        {"seconds": {"total": math.nan}},
        {"choice": {"l2": 1.0}},
        {"data": {**make_run().data.model_dump(), "n_images": 7}},
        {"data": {**make_run().data.model_dump(), "classes": ["bees", "ants", CLASSES[2]]}},
        {"data": {**make_run().data.model_dump(), "classes": ["x"], "counts": {"x": 300}}},
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValidationError):
        make_run(**changes)


# Whole or not at all


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", ["nothing", "a run", "an empty folder"])
def test_after_a_failure_everything_is_as_before(tmp_path, failure, before):
    out = tmp_path / "run"
    if before == "a run":
        write(out, seed=1)
    elif before == "an empty folder":
        out.mkdir()
    with pytest.raises(failure), RunFolder(out) as folder:  # noqa: PT012
        folder.write(make_run(out, seed=2))
        raise failure
    assert listing(tmp_path) == ([] if before == "nothing" else ["run"])
    if before == "a run":
        assert Run.load(out).seed == 1


def test_an_earlier_run_is_replaced_whole(tmp_path):
    out = write(tmp_path / "run", seed=1)
    (out / "report.html").write_text("old")
    write(out, seed=2)
    assert Run.load(out).seed == 2
    assert listing(out) == ["run.json"]
    assert listing(tmp_path) == ["run"]


def test_the_earlier_run_returns_when_the_new_one_cannot_be_put_in_place(tmp_path, monkeypatch):
    out = write(tmp_path / "run", seed=1)
    rename, failed = Path.rename, []

    def fails_for_the_new_one(self, target):
        if self.name.startswith(".run.") and not failed:
            failed.append(self)
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    monkeypatch.setattr("zoo.writing._exchange", lambda one, other: False)  # as on other systems
    with pytest.raises(RunError, match=r"No space left on device.*finished run is kept in") as caught:
        write(out, seed=2)
    assert Run.load(out).seed == 1
    assert Run.load(caught.value.next_step.split(" in ")[1].rstrip(".")).seed == 2


def test_what_came_to_lie_there_meanwhile_is_spared_and_the_run_kept(tmp_path):
    with pytest.raises(RunError, match="finished run is kept"), RunFolder(tmp_path / "run") as folder:  # noqa: PT012
        folder.write(make_run(folder.path))
        folder.path.mkdir()
        (folder.path / "thesis.txt").touch()
    assert listing(tmp_path / "run") == ["thesis.txt"]
    assert Run.load(folder.work).seed == 0


def test_through_a_symbolic_link_the_folder_behind_it_is_replaced(tmp_path):
    write(tmp_path / "run", seed=1)
    (tmp_path / "link").symlink_to("run")
    write(tmp_path / "link", seed=2)
    assert (tmp_path / "link").is_symlink()
    assert Run.load(tmp_path / "run").seed == 2


def test_a_folder_without_record_or_with_unknown_parts_is_a_mistake_of_ours(tmp_path):
    with pytest.raises(ValueError, match=r"needs a run\.json"), RunFolder(tmp_path / "run"):
        pass
    with pytest.raises(ValueError, match=r"notes\.txt"), RunFolder(tmp_path / "run") as folder:  # noqa: PT012
        folder.write(make_run(folder.path))
        (folder.work / "notes.txt").touch()
    assert listing(tmp_path) == []


# What is never replaced


def _photos(out):
    out.mkdir()
    (out / "cat.jpg").touch()


def _foreign_record(out):
    out.mkdir()
    (out / "run.json").write_text('{"name": "another tool"}')


def _damaged_record(out):
    out.mkdir()
    (out / "run.json").write_text('{"schema": 1, "stra')


def _run_with_photos(out):
    write(out)
    (out / "cat.jpg").touch()


@pytest.mark.parametrize(
    "lies_there", [_photos, _foreign_record, _damaged_record, _run_with_photos, Path.touch]
)
def test_what_is_not_ours_is_never_replaced(tmp_path, lies_there):
    out = tmp_path / "out"
    lies_there(out)
    before = listing(out) if out.is_dir() else "a file"
    with pytest.raises(RunError, match="--out"):
        check_out(out)
    with pytest.raises(RunError, match="--out"):
        write(out)
    assert before == (listing(out) if out.is_dir() else "a file")
    assert listing(tmp_path) == ["out"]


def test_the_current_folder_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in (".", "..", tmp_path):
        with pytest.raises(RunError, match="the folder you are in"):
            check_out(out)


@pytest.mark.parametrize("out", ["/proc/run", "file/run", "x" * 300])
def test_a_place_that_cannot_be_written_is_noticed_before_the_work(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be written.*--out"):
        check_out(out)
    assert listing(tmp_path) == ["file"]


def test_checking_a_place_leaves_nothing_behind(tmp_path):
    check_out(tmp_path / "not" / "yet" / "there")
    assert listing(tmp_path) == []


# Numbered folders


def test_numbers_count_up_and_survive_a_race(tmp_path):
    first = RunFolder.numbered("/photos/Ants & bees", "probe", tmp_path)
    rival = RunFolder.numbered("/photos/Ants & bees", "probe", tmp_path)
    assert first.path == rival.path == tmp_path / "photos-Ants-bees-probe-001"
    with first, rival:
        for folder in (first, rival):
            folder.write(make_run(folder.path))
    assert listing(tmp_path) == ["photos-Ants-bees-probe-001", "photos-Ants-bees-probe-002"]
    assert Run.load(rival.path).path.name.endswith("-002")


@pytest.mark.parametrize("data", ["...", "", "../..", "日本"])
def test_any_data_name_gives_a_folder_below_runs(tmp_path, data):
    assert RunFolder.numbered(data, "probe", tmp_path).path.parent == tmp_path


def test_a_failed_numbered_run_gives_its_number_back(tmp_path):
    with pytest.raises(RuntimeError), RunFolder.numbered("x", "probe", tmp_path / "runs"):
        raise RuntimeError
    assert listing(tmp_path / "runs") == []


# Reading what isn't there


def _newer(folder):
    record = json.loads((write(folder) / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "schema": 99}))


def _lacks_a_key(folder):
    record = json.loads((write(folder) / "run.json").read_text())
    del record["test"]["accuracy"]
    (folder / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "There is no"),
        (Path.mkdir, "not a run folder"),
        (Path.touch, "not a run folder"),
        (_foreign_record, "wasn't written by finetune"),
        (_damaged_record, "not JSON"),
        (_lacks_a_key, r"test\.accuracy"),
        (_newer, "schema 99"),
    ],
)
def test_what_is_no_run_is_told_in_one_message(tmp_path, make, message):
    make(tmp_path / "run")
    with pytest.raises(ZooError, match=message) as caught:
        Run.load(tmp_path / "run")
    assert caught.value.next_step


# Tables


def test_predictions_come_back_whatever_the_names(tmp_path):
    y, p = predictions(n=4)
    paths = ['a,"b".jpg', "new\nline.jpg", "日本.jpg", "plain.jpg"]
    write_predictions(tmp_path, paths, y, p, CLASSES)
    rows = read_predictions(tmp_path)
    assert [row.path for row in rows] == paths
    assert [row.truth for row in rows] == [CLASSES[i] for i in y]
    assert [row.correct for row in rows] == [bool(i) for i in y == p.argmax(axis=1)]
    assert [row.probability for row in rows] == pytest.approx(p.max(axis=1), abs=1e-6)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["path", "truth", "prediction", "probability", "correct"]


def test_metrics_are_on_disk_at_once_and_come_back(tmp_path):
    assert read_metrics(tmp_path) == []
    with MetricsLog(tmp_path) as log:
        log.write(epoch=1, loss=np.float32(0.5), rate=math.inf)
        assert read_metrics(tmp_path) == [{"epoch": 1, "loss": 0.5, "rate": None}]
        log.write(epoch=2, confusion=np.eye(2))
    assert read_metrics(tmp_path)[1]["confusion"] == [[1, 0], [0, 1]]


@pytest.mark.parametrize("read", [read_predictions, read_metrics])
def test_damaged_tables_are_told_in_one_message(tmp_path, read):
    for name in ("predictions.csv", "metrics.jsonl"):
        (tmp_path / name).write_text("{\nno table\n")
    with pytest.raises(RunError, match="cannot be read"):
        read(tmp_path)


# Speed


def test_environment_names_what_is_installed():
    found = environment(2)
    assert found.versions["numpy"] == np.__version__
    assert found.processor
    assert found.threads == 2


def test_nothing_heavy_is_imported():
    heavy = {"scipy", "sklearn", "torch", "timm", "pandas", "matplotlib", "jinja2", "PIL"}
    code = "import sys, finetune.runs, finetune.evaluation, finetune.report; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert heavy.isdisjoint(loaded.split())
