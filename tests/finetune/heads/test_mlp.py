"""Heads with a hidden layer: their slopes, their first weights, their training and their saved form."""

import json

import numpy as np
import pytest
from samples import clouds, images, task

from finetune.cli.app import main
from finetune.errors import OptionError, TrainingError
from finetune.heads import initial
from finetune.heads.descent import Descent, Diverged, descend
from finetune.heads.linear import LOSSES
from finetune.heads.mlp import ACTIVATIONS, MLP, activate, objective
from finetune.methods import make_method
from finetune.runs.saved import load_head, save_head


def in_float64(head):
    """The same head, away from the zeros that it begins with."""
    rng = np.random.default_rng(5)
    return head.with_parameters([p + 0.1 * rng.normal(size=p.shape) for p in head.parameters])


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_the_slope(activation, loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 7)), np.arange(12) % 3
    weights = rng.uniform(0.5, 2, 12)
    head = in_float64(MLP.new(activation, 7, 6, 3, seed=1))
    _, gradient = objective(head, X, y, weights, 0.1, loss)
    for place, (p, g) in enumerate(zip(head.parameters, gradient, strict=True)):
        assert g.shape == p.shape
        for at in np.ndindex(p.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = [q.copy() for q in head.parameters]
                moved[place][at] += step
                sides.append(objective(head.with_parameters(moved), X, y, weights, 0.1, loss)[0])
            slope = (sides[0] - sides[1]) / 2e-6
            assert abs(slope - g[at]) <= 1e-6 * max(1.0, abs(slope))


@pytest.mark.parametrize(
    ("name", "sums", "wanted"),
    [
        ("relu", [[-2.0, 3.0]], [[0.0, 3.0]]),
        ("leaky_relu", [[-2.0, 3.0]], [[-0.02, 3.0]]),
        ("elu", [[-2.0, 3.0]], [[np.exp(-2.0) - 1, 3.0]]),
        ("tanh", [[-2.0, 3.0]], [[np.tanh(-2.0), np.tanh(3.0)]]),
        ("maxout", [[-2.0, 3.0, 5.0, 4.0]], [[3.0, 5.0]]),
    ],
)
def test_activations_by_hand(name, sums, wanted):
    np.testing.assert_allclose(activate(np.array(sums), name), wanted)


@pytest.mark.parametrize(("draw", "variance"), [(initial.he, 2 / 400), (initial.xavier, 1 / 400)])
def test_first_weights_have_the_courses_variance(draw, variance):
    W = draw(np.random.default_rng(0), 300, 400)
    assert W.shape == (300, 400)
    assert W.dtype == np.float32
    assert abs(W.mean()) < 4 * np.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_new_head_has_the_first_weights_of_its_kind_and_knows_nothing(activation):
    head = MLP.new(activation, 400, 200, 5, seed=0)
    assert head.W1.shape == (400 if activation == "maxout" else 200, 400)
    assert head.W1.var() == pytest.approx((1 if activation == "tanh" else 2) / 400, rel=0.03)
    X, y = np.random.default_rng(1).normal(size=(200, 400)).astype(np.float32), np.arange(200) % 5
    loss, _ = objective(head, X, y, np.ones(200, np.float32), 0.0)
    assert loss == pytest.approx(np.log(5), rel=0.05)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_learns_what_no_line_can_tell_apart(activation):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(400, 2)).astype(np.float32)
    y = ((X[:, 0] * X[:, 1]) > 0).astype(np.int64)
    head = MLP.new(activation, 2, 32, 2, seed=0)
    head = descend(head, 2 * X, y, np.ones(400, np.float32), Descent(lr=0.1, l2=1e-5, epochs=60))
    assert (head.decision_function(2 * X).argmax(axis=1) == y).mean() > 0.95


def test_a_learning_rate_too_high_is_noticed():
    X, y = clouds(200, 10)
    with pytest.raises(Diverged):
        descend(
            MLP.new("relu", 10, 16, 3, 0), X, y, np.ones(200, np.float32), Descent(lr=50.0, l2=0.0, epochs=5)
        )
    probe = make_method("probe", head="mlp", hidden=16, lr=50.0, l2=1e-3, epochs=5)
    with pytest.raises(TrainingError, match="learning rate 50"):
        probe.fit(task(X, y), None)


def test_standardisation_and_temperature_are_folded_in():
    X, _ = clouds(90, 6)
    head = MLP.new("elu", 6, 8, 3, seed=0)
    mean, scale = X.mean(axis=0), X.std(axis=0)
    folded = head.with_standardisation(mean, scale).with_temperature(2.0)
    np.testing.assert_allclose(
        folded.decision_function(X), head.decision_function((X - mean) / scale) / 2, atol=1e-6
    )


def test_a_saved_head_gives_the_same_scores(tmp_path):
    head = MLP.new("maxout", 6, 8, 3, seed=0)
    X, _ = clouds(20, 6)
    save_head(tmp_path, None, head, ("a", "b", "c"))
    assert np.array_equal(load_head(tmp_path, None).decision_function(X), head.decision_function(X))


def test_one_seed_one_head_and_l2_is_chosen_by_loss():
    X, y = clouds(120, 8)
    fits = [make_method("probe", head="mlp", hidden=8).fit(task(X, y), None) for _ in range(2)]
    assert fits[0].choice == fits[1].choice
    scores = [fitted.decision_function(images(X, y)) for fitted in fits]
    assert np.array_equal(*scores)
    curve = fits[0].choice["curve"]
    assert fits[0].choice["l2"] == min(curve, key=lambda point: point["cv_loss"])["l2"]
    assert fits[0].n_parameters == 8 * 8 + 8 + 3 * 8 + 3


def test_a_given_l2_is_not_chosen():
    fitted = make_method("probe", l2=0.5).fit(task(*clouds()), None)
    assert fitted.choice["l2"] == 0.5
    assert len(fitted.choice["curve"]) == 1
    assert not fitted.warnings


@pytest.mark.parametrize(
    "options",
    [
        {"head": "cubic"},
        {"head": "mlp", "activation": "gelu"},
        {"activation": "relu"},
        {"hidden": 8},
        {"lr": 0.1},
        {"head": "mlp", "hidden": 0},
        {"head": "mlp", "lr": -1.0},
        {"l2": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(OptionError):
        make_method("probe", **options)


def test_the_run_of_a_hidden_layer_predicts(tmp_path, monkeypatch, capsys):
    from photos import crops

    monkeypatch.chdir(tmp_path)
    photos = crops(tmp_path / "photos")
    flags = ["--head", "mlp", "--activation", "tanh", "--hidden", "16", "--l2", "0.01"]
    assert main(["--data", str(photos), *flags, "--out", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["accuracy"] == 1.0
    assert sorted(p.name for p in (tmp_path / "run" / "model").iterdir()) == [
        "README.md",
        "config.json",
        "head.safetensors",
        "model.safetensors",
        "prediction_sets.json",
        "unfamiliar.safetensors",
    ]
    assert main(["predict", "run", str(photos / "flower"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["prediction"] for row in shown["predictions"]] == ["flower"] * 12
