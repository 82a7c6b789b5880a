"""One contract for everything that can be fitted: strategies, baselines and references."""

import json

import numpy as np
import pytest
from photos import crops
from samples import clouds, images, task

import zoo
from finetune.cli.app import main
from finetune.data.plan import nested
from finetune.data.split import folds
from finetune.errors import OptionError
from finetune.method import Method
from finetune.methods import METHODS, find_method, make_method
from finetune.options import Options, as_words
from finetune.runs import Run
from finetune.runs.saved import load_head

ON_FEATURES = [name for name, method in METHODS.items() if not method.resumable]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_describes_itself(name):
    method = METHODS[name]
    assert method.name == name
    assert method.kind in ("strategy", "baseline", "reference")
    assert method.summary
    assert method.inputs in ("features", "pixels")
    assert issubclass(method.Options, Options)
    assert make_method(name).options == method().options
    for option, field in method.Options.model_fields.items():
        assert field.description, option
        assert field.description[0].isupper() or field.description.split()[0] in (
            "hinge",
            "balanced",
            "mlp",
            "distance:",
        )


@pytest.mark.parametrize("name", ON_FEATURES)
def test_fit_gives_scores_choice_and_a_saved_head(name, tmp_path):
    X, y = clouds(150, 12, 3)
    method = make_method(name)
    fitted = method.fit(task(X, y), None)
    scores = fitted.decision_function(images(X, y))
    assert scores.shape == (150, 3)
    assert np.isfinite(scores).all()
    assert fitted.out_of_fold.shape == (150, 3)
    assert {"cv_accuracy", "cv_std", "cv_folds"} <= fitted.choice.keys()
    out_of_fold = (fitted.out_of_fold.argmax(axis=1) == y).mean()
    assert out_of_fold == pytest.approx(fitted.choice["cv_accuracy"], abs=0.02)
    json.dumps(fitted.choice, allow_nan=False)
    fitted.save(tmp_path / "model")
    saved = load_head(tmp_path / "model", None)
    assert np.array_equal(saved.decision_function(X), scores)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_one_seed_one_result(name):
    X, y = clouds(120, 10, 3)
    one, two = (make_method(name).fit(task(X, y, seed=4), None) for _ in range(2))
    assert one.choice == two.choice
    assert one.decision_function(images(X, y)).tobytes() == two.decision_function(images(X, y)).tobytes()


@pytest.mark.parametrize("name", ON_FEATURES)
def test_outer_folds_are_predicted_as_by_a_fit_for_each(name):
    X, y = clouds(200, 12, 3, apart=2.0)
    method, given = make_method(name), task(X, y)
    (plan,) = nested(y, folds(y, 5))
    together = method.cross_validate(given, plan, None)
    assert [len(p) for p in together] == [len(rows) for _, rows in plan.outer]
    if not method.shares_folds:
        return
    refitted = Method.cross_validate(method, given, plan, None)
    agree = np.concatenate(together) == np.concatenate(refitted)
    assert agree.mean() > 0.95


@pytest.mark.parametrize("name", ON_FEATURES)
def test_it_is_a_strategy_of_the_command_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    crops(tmp_path / "photos")
    assert main(["--strategy", name, "--data", "photos", "--out", "run"]) == 0
    run = Run.load("run")
    assert run.strategy == name
    assert main(["predict", "run", "photos/china/0.png", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert shown["predictions"][0]["prediction"] in ("china", "flower")


def test_saved_models_that_timm_has_no_head_for_are_headless(tmp_path, monkeypatch):
    """timm must not answer with ImageNet's 1,000 classes under our label names."""
    import timm

    monkeypatch.chdir(tmp_path)
    crops(tmp_path / "photos")
    for strategy, options in (("knn", []), ("probe", ["--head", "mlp"])):
        assert main(["--strategy", strategy, *options, "--data", "photos", "--out", strategy]) == 0
        network = timm.create_model(f"local-dir:{tmp_path / strategy / 'model'}", pretrained=True)
        assert network.num_classes == 0
        assert zoo.load(f"local-dir:{tmp_path / strategy / 'model'}").num_features == 1280


def test_unknown_method_and_options_are_refused_with_what_may_have_been_meant():
    with pytest.raises(OptionError, match="probe"):
        find_method("prob")
    with pytest.raises(OptionError) as found:
        make_method("svm", class_wait="balanced", lr=1)
    assert "--class-wait" in found.value.problem
    assert "--lr" in found.value.problem
    assert "--class-weight" in found.value.next_step


def test_options_become_the_words_that_set_them():
    values = {"hflip": False, "amp": True, "unfreeze": ("a.*", "b"), "lr": 0.1, "epochs": None}
    assert as_words(values) == ["--no-hflip", "--amp", "--unfreeze", "a.*", "b", "--lr", "0.1"]
