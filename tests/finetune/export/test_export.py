"""An export answers as its run does, or there is none."""

import errno
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from photos import contents

import finetune
from finetune.cli.app import main
from finetune.errors import OptionError, RunError
from finetune.evaluation.calibration import softmax
from finetune.export import export, golden, int8
from finetune.export.golden import Golden
from finetune.export.int8 import paired_interval
from finetune.export.onnx_file import OPSET
from finetune.export.predictor import load_onnx
from finetune.export.source import Source
from finetune.runs import Run

#: To convert a network takes some seconds; what differs between them is also tested module by module.
STRATEGIES = [
    ("probe", {}),
    pytest.param("probe", {"features": "stages", "tta": "mirror", "view": "whole"}, marks=pytest.mark.slow),
    pytest.param("kernel", {}, marks=pytest.mark.slow),
    pytest.param("probe", {"head": "mlp"}, marks=pytest.mark.slow),
    pytest.param("knn", {}, marks=pytest.mark.slow),
    pytest.param("raw", {}, marks=pytest.mark.slow),
    pytest.param("majority", {}, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def exported(run_of, tmp_path_factory):
    """Exports a strategy's run as ONNX, once."""
    folder, made = tmp_path_factory.mktemp("exports"), {}

    def make(strategy="probe", **options):
        run = run_of(strategy, **options)
        if run not in made:
            made[run] = export(run, "onnx", folder / run.name)
        return made[run]

    return make


@pytest.fixture
def images(photos):
    return sorted(photos.rglob("*.png"))


@pytest.mark.parametrize(("strategy", "options"), STRATEGIES, ids=str)
def test_an_onnx_file_predicts_as_its_run(strategy, options, run_of, exported, images):
    found = exported(strategy, **options)
    assert contents(found.path.parent) == ["golden.npz", "model.onnx"]
    assert 0 <= max(found.differences.values()) <= golden.TOLERANCE
    run = finetune.load(run_of(strategy, **options), engine="torch")
    expected, predicted = run.predict_all(images), load_onnx(found.path).predict_all(images)
    np.testing.assert_allclose(predicted.probabilities, expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(softmax(predicted.scores), predicted.probabilities, atol=1e-6)
    np.testing.assert_allclose(predicted.features, expected.features, atol=1e-3)


def test_the_file_is_described(exported, run_of):
    model = onnx.load(exported().path)
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    run = Run.load(run_of())
    assert [entry.version for entry in model.opset_import if not entry.domain] == [OPSET] == [about["opset"]]
    assert about["classes"] == ["china", "flower"]
    assert about["preprocess"]["input_size"] == [64, 64]
    assert about["temperature"] == run.choice["temperature"]
    assert about["accuracy"]["ci95"] == list(run.test.ci95)
    assert about["prediction_sets"] == json.loads((run.path / "model" / "prediction_sets.json").read_text())
    assert 0 < about["unfamiliar"]["lowest"] < 1
    # Nothing of this machine's disk is in it.
    assert str(run.path.parent).encode() not in exported().path.read_bytes()
    assert b".py" not in exported().path.read_bytes()


def test_golden_images_are_those_of_training(exported, run_of, photos):
    path = exported().path.parent / golden.FILE
    assert path.stat().st_size < 1_000_000
    found = Golden.load(path.parent)
    held_out = {row.path for row in finetune.runs.read_predictions(run_of())}
    assert len(found.images) == 16
    assert not set(found.names) & held_out
    assert {name.split("/")[0] for name in found.names} == {"china", "flower"}
    assert (photos / found.names[0]).read_bytes()[:4] == found.images[0][:4] == b"\x89PNG"
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1)


def predictions(capsys, *words):
    assert main(["predict", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]


def test_predict_takes_an_exported_file(exported, run_of, images, capsys):
    words = [*images[:5], "--coverage", "0.8", "--reject", "0.2"]
    expected = predictions(capsys, run_of(), *words, "--engine", "torch")
    for place in (exported().path, exported().path.parent):
        found = predictions(capsys, place, *words)
        for row, other in zip(found, expected, strict=True):
            for key in ("path", "prediction", "set", "rejected"):
                assert row[key] == other[key]
            assert row["unfamiliar"] == pytest.approx(other["unfamiliar"])


def test_unreadable_images_are_told_apart(exported, images, tmp_path):
    damaged = tmp_path / "a.png"
    damaged.write_bytes(images[0].read_bytes()[:100])
    predictor = load_onnx(exported().path)
    found = predictor.predict_all([damaged, images[1]])
    assert found.paths == [images[1]]
    assert "truncated" in found.skipped[0].reason
    assert predictor.predict_all([damaged]).probabilities.shape == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_trained_networks_are_exported_too(strategy, run_of, tmp_path):
    run = run_of(strategy, epochs=1)
    for form in ("onnx", "timm"):
        assert max(export(run, form, tmp_path / form).differences.values()) <= golden.TOLERANCE


@pytest.mark.slow
def test_a_torch_program_needs_nothing_of_ours(exported, run_of, tmp_path):
    found = export(run_of(), "torch", tmp_path / "program")
    pixels = Source(run_of()).pixels[:5]
    np.save(tmp_path / "pixels.npy", pixels)
    code = f"""
import json, sys, numpy, torch
extra = {{"about.json": ""}}
program = torch.export.load({str(found.path)!r}, extra_files=extra).module()
found = program(torch.from_numpy(numpy.load({str(tmp_path / "pixels.npy")!r})))[0]
assert not {{"finetune", "zoo", "timm"}} & {{name.split(".")[0] for name in sys.modules}}
print(json.dumps([json.loads(extra["about.json"])["classes"], found.tolist()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    classes, probabilities = json.loads(done.stdout.splitlines()[-1])
    expected = Golden.load(found.path.parent)
    assert tuple(classes) == expected.classes
    np.testing.assert_allclose(probabilities, expected.probabilities[:5], atol=1e-4)


def test_timm_has_no_place_for_other_heads(run_of, tmp_path):
    with pytest.raises(RunError, match=r"knn.*--format onnx"):
        export(run_of("knn"), "timm", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_repository_folder_holds_no_images_and_is_replaced_on_request(run_of, tmp_path):
    out = tmp_path / "repository"
    found = export(run_of(), "hub", out)
    assert found.path == out
    assert found.differences["timm"] <= golden.TOLERANCE
    files = {"README.md", "config.json", "model.safetensors"}
    assert {path.name for path in out.iterdir()} == files
    assert (out / "README.md").read_text(encoding="utf-8").startswith("---\n")
    with pytest.raises(RunError, match="exists"):
        export(run_of(), "hub", out)
    export(run_of(), "hub", out, overwrite=True)
    assert {path.name for path in out.iterdir()} == files
    with pytest.raises(RunError, match="knn"):
        export(run_of("knn"), "hub", tmp_path / "other")


# What must not happen


def test_an_export_that_disagrees_is_refused_with_the_numbers(run_of, tmp_path, monkeypatch, capsys):
    honest = golden.predict
    monkeypatch.setattr("finetune.export.source.predict", lambda *given: np.roll(honest(*given), 1, axis=1))
    out = tmp_path / "out"
    assert main(["export", str(run_of()), "--format", "onnx", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "disagrees with the run" in message
    assert "16 of 16" in message or "of 16 images differ" in message
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_left_alone(run_of, tmp_path):
    out = tmp_path / "out"
    export(run_of(), "timm", out)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match=r"exists.*--overwrite"):
        export(run_of(), "timm", out)
    export(run_of(), "timm", out, overwrite=True)
    assert (out / "model.safetensors").read_bytes() == before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="other files"):
        export(run_of(), "timm", out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RunError, match="is a file"):
        export(run_of(), "timm", file, overwrite=True)


def test_a_full_disk_leaves_nothing(run_of, tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Golden, "save", full)
    with pytest.raises(RunError, match="disk is full"):
        export(run_of(), "timm", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_other_faults(run_of, tmp_path, photos, monkeypatch):
    with pytest.raises(RunError, match="not a run folder"):
        export(photos, "onnx")
    with pytest.raises(OptionError, match="no format 'tflite'"):
        export(run_of(), "tflite")
    with pytest.raises(OptionError, match="no 8-bit form"):
        export(run_of(), "timm", int8=True)
    with pytest.raises(RunError, match="--data"):
        export(run_of(), "timm", tmp_path / "out", data=tmp_path / "gone")
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "none", [], []))
    onnx.save(foreign, tmp_path / "model.onnx")
    with pytest.raises(RunError, match=r"was not written|cannot read"):
        load_onnx(tmp_path / "model.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(RunError, match="cannot read"):
        load_onnx(tmp_path / "text.onnx")
    with pytest.raises(RunError, match="There is no"):
        load_onnx(tmp_path / "missing.onnx")


# Eight bits


@pytest.mark.slow
def test_int8_says_what_it_costs(run_of, tmp_path, monkeypatch, capsys):
    words = ["export", str(run_of()), "--int8", "--out", str(tmp_path / "out"), "--force", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)["int8"]
    assert found["n"] == 4
    assert found["lost"] == pytest.approx(found["accuracy_fp32"] - found["accuracy"])
    assert found["ci95"][0] <= found["lost"] <= found["ci95"][1]
    predictor = load_onnx(tmp_path / "out")
    assert predictor.about["precision"] == "int8"
    kinds = {node.op_type for node in onnx.load(predictor.path).graph.node}
    assert "QuantizeLinear" in kinds
    monkeypatch.setattr(int8, "ALLOWED", -1.0)
    with pytest.raises(RunError, match="more than a point"):
        export(run_of(), "onnx", tmp_path / "refused", int8=True)
    assert not (tmp_path / "refused").exists()


def test_the_interval_of_a_paired_difference():
    right = np.ones(100, bool)
    worse = right.copy()
    worse[:10] = False
    lo, hi = paired_interval(right, worse)
    # Agresti and Min's formula by hand: (10.5 - 0.5) / 102 -+ 1.96 sqrt(11 - 100 / 102) / 102
    assert (lo, hi) == (pytest.approx(0.03723, abs=1e-4), pytest.approx(0.15885, abs=1e-4))
    assert paired_interval(right, right)[0] < 0 < paired_interval(right, right)[1]
