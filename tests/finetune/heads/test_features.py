"""The choice between last features and those of all stages."""

from dataclasses import replace

import numpy as np
import pytest
from samples import clouds, task

from finetune.data.plan import nested, plain
from finetune.data.split import folds
from finetune.heads.feature_choice import choose_features
from finetune.heads.linear import softmax_loss
from finetune.heads.regularisation import L2Path
from finetune.method import Method
from finetune.methods import make_method


def scores(confidence, y):
    """Scores of two classes that give the true one these log-odds."""
    return np.where(np.arange(2) == y[:, None], 1, -1) * np.asarray(confidence)[:, None] / 2


def test_stages_are_taken_where_their_gain_is_more_than_a_standard_error():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    last = rng.normal(1, 1, 200)
    better, same = last + rng.normal(1, 0.5, 200), last + rng.normal(0, 0.5, 200)
    found = choose_features(scores(last, y), scores(better, y), y)
    assert found.features == "stages"
    assert found.difference > found.standard_error > 0
    assert found.difference == pytest.approx(found.last_loss - found.stages_loss)
    assert choose_features(scores(last, y), scores(same, y), y).features == "last"
    assert choose_features(scores(better, y), scores(last, y), y).features == "last"


def test_either_is_judged_at_its_own_best_temperature():
    y = np.arange(200) % 2
    last = scores(np.random.default_rng(0).normal(1, 1, 200), y)
    found = choose_features(last, 7 * last, y)
    assert found.last_loss == pytest.approx(found.stages_loss, abs=1e-6)
    assert found.features == "last"


def test_images_of_one_group_count_as_one():
    """Twenty copies of each of ten images prove no more than the ten."""
    rng = np.random.default_rng(3)
    y = np.arange(10) % 2
    last, gain = rng.normal(1, 1, 10), rng.normal(0.6, 1.5, 10)
    y, last, gain, groups = (np.repeat(x, 20) for x in (y, last, gain, np.arange(10)))
    alone = choose_features(scores(last, y), scores(last + gain, y), y)
    grouped = choose_features(scores(last, y), scores(last + gain, y), y, groups)
    assert grouped.standard_error > 4 * alone.standard_error
    assert (alone.features, grouped.features) == ("stages", "last")


def with_stages(X, y, n_last):
    given = task(X, y)
    return replace(given, train=replace(given.train, n_last=n_last))


@pytest.mark.parametrize("name", ["probe", "svm"])
def test_stages_are_taken_where_they_know_more_and_not_where_they_are_noise(name):
    X, y = clouds(200, 30, 3, apart=0.6)
    noise = np.random.default_rng(1).normal(size=(200, 30)).astype(np.float32)
    good = make_method(name).fit(with_stages(X, y, 10), None)
    bad = make_method(name).fit(with_stages(np.hstack([X, noise]), y, 30), None)
    assert (good.choice["features"], bad.choice["features"]) == ("stages", "last")
    assert (good.head.W.shape, bad.head.W.shape) == ((3, 30), (3, 30))
    last, stages = good.choice["features_tried"]
    assert (last["features"], stages["features"]) == ("last", "stages")
    assert stages["difference"] == pytest.approx(last["log_loss"] - stages["log_loss"])
    alone = make_method(name, features="last").fit(with_stages(X, y, 10), None)
    assert alone.choice["features"] == "last"
    assert "features_tried" not in alone.choice
    assert good.choice["cv_accuracy"] > alone.choice["cv_accuracy"]


@pytest.mark.parametrize("name", ["probe", "svm"])
def test_without_stages_the_last_features_are_taken(name):
    X, y = clouds(100, 10, 3)
    for n_last in (None, 10):
        for features in ("auto", "stages"):
            choice = make_method(name, features=features).fit(with_stages(X, y, n_last), None).choice
            assert choice["features"] == "last"
            assert "features_tried" not in choice


def test_a_path_near_another_finds_what_a_whole_path_finds():
    X, y = clouds(240, 40, 4, apart=0.5)
    for plan in (plain(folds(y, 5)), *nested(y, folds(y, 5))):
        last, near, whole = (
            L2Path(part, y, plan, 4, softmax_loss, lambda s, y: float(softmax_loss(s.T[None], y)[0].mean()))
            for part in (X[:, :15], X, X)
        )
        last.fit()
        near.fit_near(last)
        whole.fit()
        for choice in range(len(plan.choices)):
            assert near.best(choice).l2 == whole.best(choice).l2
            assert near.best(choice).criterion[choice] == pytest.approx(
                whole.best(choice).criterion[choice], abs=2e-3
            )
            assert not near.border(choice)
        assert len(near.points) < len(whole.points)


@pytest.mark.parametrize("name", ["probe", "svm"])
def test_each_outer_fold_has_a_choice_of_its_own(name):
    """As a fit on its training images alone would make it."""
    X, y = clouds(200, 30, 3, apart=0.6)
    given, method = with_stages(X, y, 27), make_method(name)
    (plan,) = nested(y, folds(y, 5))
    together = np.concatenate(method.cross_validate(given, plan, None))
    alone = np.concatenate(Method.cross_validate(method, given, plan, None))
    assert (together == alone).mean() > 0.95


def test_a_hidden_layer_reads_the_last_features_unless_told_otherwise():
    X, y = clouds(90, 12, 3)
    given = with_stages(X, y, 5)
    settings = {"head": "mlp", "hidden": 4, "epochs": 2, "l2": 1e-2}
    for features, n in (("auto", 5), ("last", 5), ("stages", 12)):
        method = make_method("probe", features=features, **settings)
        fitted = method.fit(given, None)
        assert fitted.head.W1.shape[1] == n
        assert method.features == fitted.features == fitted.choice["features"]
        assert fitted.decision_function(given.train).shape == (90, 3)


def test_nearest_neighbours_read_the_last_features():
    X, y = clouds(90, 12, 3)
    fitted = make_method("knn").fit(with_stages(X, y, 5), None)
    assert fitted.head.X.shape == (90, 5)
    assert fitted.decision_function(with_stages(X, y, 5).train).shape == (90, 3)
