"""``--view`` and ``--tta``: recorded, repeated, and kept by a saved model."""

import json
import shlex

import numpy as np
import pytest

import finetune
from finetune.cli.app import main
from finetune.experiment import Request, prepare
from finetune.methods import make_method
from finetune.runs import Run
from zoo.errors import DataError


@pytest.fixture(scope="module")
def model(small_networks):
    return f"local-dir:{small_networks('test_resnet').folder}"


@pytest.fixture(scope="module")
def run(photos, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["--data", str(photos), "--model", model, "--engine", "torch", "--out", str(out)]
    assert main([*words, "--view", "whole", "--tta", "mirror"]) == 0
    return Run.load(out)


def test_both_are_recorded_and_the_command_repeats_them(run, tmp_path, monkeypatch):
    assert (run.view, run.tta) == ("whole", "mirror")
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(run.command)[1:], "--out", "again"]) == 0
    assert Run.load("again").without_times() == run.without_times()


def test_the_model_keeps_them(run, photos):
    config = json.loads((run.path / "model" / "config.json").read_text())
    assert config["tta"] == "mirror"
    assert (config["pretrained_cfg"]["crop_mode"], config["pretrained_cfg"]["crop_pct"]) == ("squash", 1.0)
    predictor = finetune.load(run.path, engine="torch")
    for line in (run.path / "predictions.csv").read_text().splitlines()[1:]:
        path, _, _, probability, _ = line.split(",")
        assert predictor.predict_proba([photos / path]).max() == pytest.approx(float(probability), abs=1e-5)


def test_a_plain_run_says_so_and_its_model_has_no_such_key(photos, model, tmp_path):
    run = finetune.fit(photos, model, out=tmp_path / "run", engine="torch", features="last")
    assert (run.view, run.tta) == ("crop", "none")
    assert "--view" not in run.command
    assert "--tta" not in run.command
    config = json.loads((run.path / "model" / "config.json").read_text())
    assert "tta" not in config
    assert config["pretrained_cfg"].get("crop_mode", "center") == "center"


@pytest.mark.parametrize("strategy", ["knn", "svm"])
def test_other_methods_on_features_have_them(strategy, photos, model, tmp_path):
    run = finetune.fit(photos, model, strategy, out=tmp_path / "run", engine="torch", tta="mirror")
    path, _, _, probability, _ = (run.path / "predictions.csv").read_text().splitlines()[1].split(",")
    found = finetune.load(run.path, engine="torch").predict_proba([photos / path])
    assert found.max() == pytest.approx(float(probability), abs=1e-5)


def test_the_mean_changes_features_but_no_group_and_no_split(photos, model):
    method = make_method("probe")
    plain, mirrored = (
        prepare(Request(str(photos), (model,), engine="torch", tta=tta), methods=[method])
        for tta in ("none", "mirror")
    )
    assert np.array_equal(plain.split.train, mirrored.split.train)
    assert len(plain.copies.copies.pairs) == len(mirrored.copies.copies.pairs)
    for matrices in ("stages", "matrices"):
        a, b = (getattr(found, matrices)[found.backbone.name] for found in (plain, mirrored))
        assert a.shape == b.shape
        assert not np.allclose(a, b)
    assert plain.matrices.keys() == mirrored.matrices.keys()
    assert plain.identity(method, plain.backbone) != mirrored.identity(method, mirrored.backbone)


@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_a_method_that_trains_the_network_refuses_the_mean(strategy, photos, model):
    with pytest.raises(DataError, match="trains the network") as found:
        finetune.fit(photos, model, strategy, tta="mirror")
    assert "Leave out --tta" in found.value.next_step


def test_unknown_words_are_refused():
    for name, known in (("view", "crop, whole"), ("tta", "none, mirror")):
        with pytest.raises(DataError, match=f"--{name} is 'x'") as found:
            Request(**{name: "x"})
        assert known in found.value.next_step
