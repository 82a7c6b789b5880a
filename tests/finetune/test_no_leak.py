"""Nothing leaks: labels that mean nothing give chance, and what only held-out images show is not used."""

from dataclasses import replace

import numpy as np
import pytest
from samples import clouds, images, task
from scipy import stats

from finetune.data.plan import nested
from finetune.data.split import folds
from finetune.evaluation import wilson
from finetune.heads.regularisation import NESTED_TOLERANCE
from finetune.methods import METHODS, make_method

C = 4


def permuted(seed):
    """Classes that are easy to tell apart, and labels that were dealt anew."""
    X, y = clouds(240, 20, C, seed=7, apart=3.0)
    return X, np.random.default_rng(seed).permutation(y)


@pytest.mark.parametrize("name", METHODS)
def test_permuted_labels_give_chance(name):
    """Cross-validated and held-out accuracy of 3 data sets hold 1 / 4 in their 99.9% intervals."""
    method = make_method(name)
    if not method.shares_folds:
        pytest.skip("fits every fold anew: tested with real images elsewhere")
    right = held_out_right = n = held_out_n = 0
    for seed in range(3):
        X, y = permuted(seed)
        train, test = np.arange(160), np.arange(160, 240)
        given = task(X[train], y[train])
        outer = folds(y[train], 5, seed=seed)
        for plan in nested(y[train], outer):
            called = method.cross_validate(given, plan, None)
            right += sum(int((p == y[rows]).sum()) for p, (_, rows) in zip(called, plan.outer, strict=True))
        n += len(train)
        logits = method.fit(given, None).decision_function(images(X[test], y[test]))
        held_out_right += int((logits.argmax(axis=1) == y[test]).sum())
        held_out_n += len(test)
    for hits, of in ((right, n), (held_out_right, held_out_n)):
        lo, hi = wilson(hits, of, level=0.999)
        assert lo <= 1 / C <= hi


@pytest.mark.parametrize("name", METHODS)
def test_the_same_labels_unpermuted_are_learned(name):
    method = make_method(name)
    if name == "majority" or not method.shares_folds:
        pytest.skip("learns nothing" if name == "majority" else "needs images")
    X, y = clouds(240, 20, C, seed=7, apart=3.0)
    (plan,) = nested(y, folds(y, 5))
    called = method.cross_validate(task(X, y), plan, None)
    assert np.mean([(p == y[rows]).mean() for p, (_, rows) in zip(called, plan.outer, strict=True)]) > 0.95


def telltale(fold, plan, X, y):
    """A feature that is the label on one outer fold's held-out images and 0 elsewhere."""
    column = np.zeros((len(y), 1), np.float32)
    rows = plan.outer[fold][1]
    column[rows, 0] = 10.0 * (1 + y[rows])
    return np.hstack([X, column])


def chosen(name, given, plan):
    method, choices = make_method(name), range(len(plan.outer))
    if name == "knn":
        search = method._search(given, plan)
        return [search.best(i) for i in choices]
    if name == "kernel":
        found = [method._search(given, given.train.subset(train)) for train, _ in plan.outer]
        return [(each.features, each.search.best) for each in found]
    paths = (method.paths if name == "probe" else method._paths)(given, plan, NESTED_TOLERANCE)
    return [(paths.features(i), paths.path(i).best(i).l2) for i in choices]


def with_stages(given, n_last):
    """The task with columns from `n_last` on as features of stages."""
    return replace(given, train=replace(given.train, n_last=n_last))


@pytest.mark.parametrize("name", ["knn", "svm", "probe", "kernel"])
def test_a_feature_that_tells_only_on_held_out_images_changes_no_choice(name):
    X, y = clouds(160, 20, C, seed=3)
    silent = np.hstack([X, np.zeros((160, 1), np.float32)])
    (plan,) = nested(y, folds(y, 5))
    before = chosen(name, task(silent, y), plan)
    for fold in range(5):
        assert chosen(name, task(telltale(fold, plan, X, y), y), plan)[fold] == before[fold]


@pytest.mark.parametrize("name", ["svm", "probe"])
def test_nor_the_choice_between_last_features_and_stages(name):
    """Which is made on the other folds: there the telltale is silent, and everywhere else it is not."""
    X, y = clouds(160, 20, C, seed=3)
    X[:, 15:] = np.random.default_rng(0).normal(size=(160, 5))  # stages that know nothing
    silent = np.hstack([X, np.zeros((160, 1), np.float32)])
    (plan,) = nested(y, folds(y, 5))
    before = chosen(name, with_stages(task(silent, y), 15), plan)
    assert {features for features, _ in before} == {"last"}
    for fold in range(5):
        told = with_stages(task(telltale(fold, plan, X, y), y), 15)
        assert chosen(name, told, plan)[fold] == before[fold]


@pytest.mark.parametrize("name", ["svm", "probe"])
def test_nor_does_it_change_a_prediction_of_a_linear_method(name):
    """Its weight stays 0. (A neighbour's cosine it does change: it is a feature of the query.)"""
    method = make_method(name)
    X, y = clouds(160, 20, C, seed=3)
    (plan,) = nested(y, folds(y, 5))
    silent = np.hstack([X, np.zeros((160, 1), np.float32)])
    before = method.cross_validate(task(silent, y), plan, None)
    after = method.cross_validate(task(telltale(2, plan, X, y), y), plan, None)
    assert np.array_equal(before[2], after[2])


def test_choosing_inside_the_fold_is_no_flattery():
    """The best of many candidates beats chance where it was chosen, and not where it is tested."""
    flattered, honest, n = 0.0, 0, 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(60, 30)).astype(np.float32), rng.permutation(np.arange(60) % 2)
        flattered += make_method("knn").fit(task(X, y), None).choice["cv_accuracy"] / 6
        (plan,) = nested(y, folds(y, 5, seed=seed))
        called = make_method("knn").cross_validate(task(X, y), plan, None)
        honest += sum(int((p == y[rows]).sum()) for p, (_, rows) in zip(called, plan.outer, strict=True))
        n += len(y)
    assert stats.binomtest(honest, n, 0.5).pvalue > 0.001
    assert flattered > 0.56
