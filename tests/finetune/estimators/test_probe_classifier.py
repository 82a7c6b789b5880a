"""The linear classifier as a scikit-learn estimator."""

import pickle

import numpy as np
import pytest
from samples import clouds, task
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import finetune
from finetune.evaluation import softmax
from finetune.methods import make_method


@parametrize_with_checks([finetune.ProbeClassifier()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_the_probe(classes):
    X, y = clouds(c=classes)
    probe = make_method("probe").fit(task(X, y), None)
    classifier = finetune.ProbeClassifier().fit(X, y)
    assert classifier.l2_ == probe.choice["l2"]
    assert classifier.temperature_ == pytest.approx(probe.choice["temperature"], rel=1e-3)
    expected = softmax(probe.decision_function(task(X, y).train))
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=1e-3)
    raw = X @ classifier.coef_.T + classifier.intercept_
    np.testing.assert_allclose(raw if classes > 2 else raw[:, 0], classifier.decision_function(X), atol=1e-4)


def test_it_is_as_good_as_logistic_regression_on_other_peoples_data():
    X, y = load_breast_cancer(return_X_y=True)
    ours = cross_val_score(make_pipeline(StandardScaler(), finetune.ProbeClassifier()), X, y, cv=5)
    theirs = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, y, cv=5)
    assert ours.mean() > theirs.mean() - 0.01
    assert ours.mean() > 0.96


def test_large_means_lose_nothing():
    X, y = clouds()
    X = X.astype(np.float64)
    near, far = (finetune.ProbeClassifier().fit(X + shift, y) for shift in (0, 1e6))
    np.testing.assert_allclose(far.predict_proba(X + 1e6), near.predict_proba(X), atol=1e-3)


def test_groups_stay_together():
    """Each row five times: without groups, the smallest L2 has the least loss on folds that hold copies."""
    rng = np.random.default_rng(0)
    X, y = np.repeat(rng.normal(size=(40, 60)), 5, axis=0), np.repeat(np.arange(40) % 2, 5)
    groups = np.repeat(np.arange(40), 5)
    alone = finetune.ProbeClassifier().fit(X, y)
    together = finetune.ProbeClassifier().fit(X, y, groups=groups)
    assert alone.l2_ < together.l2_
    best = {c: min(c.l2_path_, key=lambda p: p["loss"])["accuracy"] for c in (alone, together)}
    assert best[alone] > 0.95 > 0.75 > best[together]
    with pytest.raises(ValueError, match="inconsistent"):
        finetune.ProbeClassifier().fit(X, y, groups=groups[:3])


def test_class_weights():
    X, y = clouds(300, c=2, apart=0.4)
    rare = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:15]]
    recall = {}
    for weight in (None, "balanced", {1: 10.0}):
        classifier = finetune.ProbeClassifier(class_weight=weight).fit(X[rare], y[rare])
        recall[str(weight)] = (classifier.predict(X[y == 1]) == 1).mean()
    assert recall["balanced"] > recall["None"] + 0.1
    assert recall["{1: 10.0}"] > recall["None"] + 0.1


def test_in_scikit_learns_tools():
    X, y = clouds(n=90)
    scores = cross_val_score(
        finetune.ProbeClassifier(), X, y, groups=np.arange(90) // 3, cv=GroupKFold(3), n_jobs=1
    )
    assert scores.min() > 0.6
    classifier = finetune.ProbeClassifier(random_state=np.random.RandomState(0)).fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict_proba(X), classifier.predict_proba(X))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "mse"}, "softmax, hinge"),
        ({"l2": 0}, "positive"),
        ({"cv": 1}, "at least 2"),
        ({"class_weight": "heavy"}, "balanced"),
    ],
)
def test_faults(settings, words):
    X, y = clouds()
    with pytest.raises(ValueError, match=words):
        finetune.ProbeClassifier(**settings).fit(X, y)
