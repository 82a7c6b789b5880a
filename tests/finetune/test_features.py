"""Features of all stages, from the command line to a saved model that predicts."""

import json

import numpy as np
import pytest

import finetune
import zoo
from finetune.cli.app import main
from finetune.experiment import Request, prepare
from finetune.methods import make_method
from zoo.features import fill


@pytest.fixture(scope="module")
def model(small_networks):
    """A small network with random weights, as ``--model`` takes it."""
    return f"local-dir:{small_networks('test_resnet').folder}"


@pytest.fixture(scope="module")
def runs(photos, model, tmp_path_factory):
    """A run for each kind of features."""
    out = tmp_path_factory.mktemp("runs")
    return {
        features: finetune.fit(photos, model, out=out / features, engine="torch", features=features)
        for features in ("auto", "last", "stages")
    }


def images(photos):
    return sorted(photos.rglob("*.png"))[:6]


def test_a_stages_model_is_a_headless_network_and_a_head(runs, model):
    folder = runs["stages"].path / "model"
    config = json.loads((folder / "config.json").read_text())
    stages = zoo.load(model).stages
    assert config["num_classes"] == 0
    assert config["head"] == {"kind": "linear"}
    assert config["features"] == ["last", *(f"{s.name}:{pool}" for s in stages for pool in ("avg", "max"))]
    assert (folder / "head.safetensors").exists()
    config = json.loads((runs["last"].path / "model" / "config.json").read_text())
    assert config["num_classes"] == 2
    assert not {"features", "head"} & config.keys()
    assert not (runs["last"].path / "model" / "head.safetensors").exists()


@pytest.mark.parametrize("features", ["auto", "last", "stages"])
def test_a_run_predicts_what_it_was_evaluated_on(runs, photos, features):
    run = runs[features]
    predictor = finetune.load(run.path, engine="torch")
    lines = (run.path / "predictions.csv").read_text().splitlines()[1:]
    assert len(lines) == run.test.n
    for line in lines:
        path, _, predicted, probability, _ = line.split(",")
        p = predictor.predict_proba([photos / path])[0]
        assert predictor.classes[p.argmax()] == predicted
        assert p.max() == pytest.approx(float(probability), abs=1e-5)


def test_the_record_says_what_was_taken_and_by_how_much(runs, capsys):
    for features in ("last", "stages"):
        assert runs[features].choice["features"] == features
        assert "features_tried" not in runs[features].choice
    choice = runs["auto"].choice
    last, stages = choice["features_tried"]
    assert stages["difference"] == pytest.approx(last["log_loss"] - stages["log_loss"])
    better = stages["difference"] > stages["standard_error"]
    assert choice["features"] == ("stages" if better else "last")
    assert "--features stages" in runs["stages"].command
    assert "--features" not in runs["auto"].command.replace("--features auto", "")


def test_the_screen_says_it_in_one_line(photos, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--data", str(photos), "--model", model, "--engine", "torch"]
    assert main(words) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("features")]
    assert "log loss" in line
    assert main([*words, "--features", "last"]) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("features")]


def test_what_is_stored_serves_every_choice(runs, photos, model, tmp_path, monkeypatch):
    """Neither another choice nor a prediction computes an image again: taps are stored one by one."""
    monkeypatch.setattr(fill._Job, "_decode", None)  # would fail if it were called
    run = finetune.fit(photos, model, "knn", out=tmp_path / "knn", engine="torch")
    assert run.strategy == "knn"
    for other in runs.values():
        assert finetune.load(other.path, engine="torch").predict(images(photos))


def test_unfamiliar_images_are_judged_by_the_last_features(runs, photos, model):
    from finetune.trust import Knowledge

    n = zoo.load(model).num_features
    found = finetune.load(runs["stages"].path, engine="torch").predict_all(images(photos))
    assert found.features.shape == (6, n)
    knowledge = Knowledge.load(runs["stages"].path / "model")
    same = Knowledge.load(runs["last"].path / "model")
    p = knowledge.unfamiliarity(found.features)
    assert np.array_equal(p, same.unfamiliarity(found.features))


def test_svm_has_features_too(photos, model, tmp_path):
    run = finetune.fit(photos, model, "svm", out=tmp_path / "svm", engine="torch", features="stages")
    assert run.choice["features"] == "stages"
    assert finetune.load(run.path, engine="torch").predict(images(photos))


def test_only_what_a_method_needs_is_computed(photos, model):
    request = Request(str(photos), (model,), engine="torch")
    assert not prepare(request, methods=[make_method("knn"), make_method("probe", features="last")]).stages
    found = prepare(request, methods=[make_method("knn"), make_method("probe")])
    [X] = found.stages.values()
    last = found.matrices[found.backbone.name]
    assert np.array_equal(X[:, : last.shape[1]], last)
    assert found.task(make_method("knn")).train.n_last is None
    task = found.task(make_method("probe"))
    assert task.train.X.shape[1] == X.shape[1]
    assert np.array_equal(task.train.last, found.task(make_method("knn")).train.X)


def test_without_named_stages_the_last_features_are_taken_and_said(photos, model, tmp_path, monkeypatch):
    backbone = zoo.load(model)
    monkeypatch.setitem(backbone.config, "stages", [])
    monkeypatch.setattr("zoo.backbone.load", lambda name, registry=None: backbone)
    lines = []
    run = finetune.fit(photos, model, out=tmp_path / "run", engine="torch", log=lines.append)
    assert run.choice["features"] == "last"
    assert len([line for line in lines if "no named stages" in line]) == 1


def test_a_wrong_word_is_refused(photos, capsys):
    assert main(["--data", str(photos), "--features", "all"]) == 2
    assert "auto, last, stages" in capsys.readouterr().err
    assert main(["--data", str(photos), "--strategy", "knn", "--features", "stages"]) == 2
    assert "knn has no option --features" in capsys.readouterr().err


def test_a_comparison_reads_stages_for_those_who_want_them(photos, model, tmp_path):
    from finetune.compare import compare

    request = Request(str(photos), (model,), engine="torch")
    found = compare(request, ["knn", "probe"], repeats=1, out=tmp_path / "compare")
    by_name = {method.name: method for method in found.methods}
    assert "features_tried" in by_name["probe"].choice
    assert len(by_name["probe"].folds.accuracies) == found.methods[0].folds.n_folds
