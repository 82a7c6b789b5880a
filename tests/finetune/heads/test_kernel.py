"""The kernel classifier: scikit-learn's solution, and what is left out is left out exactly."""

import numpy as np
import pytest
from photos import SHARED, needs_photographs
from samples import clouds, images, task
from sklearn.kernel_ridge import KernelRidge

import finetune
from finetune.evaluation import evaluate, softmax
from finetune.heads import kernel
from finetune.heads.kernel import KernelSearch
from finetune.heads.ridge import Spectrum, blocks_of
from finetune.methods import make_method


def rings(n, seed=0):
    """Two classes that no line separates: a disc and a ring around it, in two of six dimensions."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, n), 1 + 2 * y + 0.3 * rng.normal(size=n)
    X = 0.3 * rng.normal(size=(n, 6))
    X[:, 0] += radius * np.cos(angle)
    X[:, 1] += radius * np.sin(angle)
    return X.astype(np.float32), y


def test_left_out_predictions_by_hand():
    """Of the mean of two equal rows nothing but the other is left."""
    found = Spectrum(np.full((2, 1), 0.5**0.5), np.array([2.0])).left_out(
        np.array([[1.0], [3.0]]), np.array([1.0]), []
    )
    # K is all ones: what is fitted to the other row alone is its target times 1 / (1 + 1).
    assert found[0, :, 0] == pytest.approx([1.5, 0.5])


def test_the_classifier_is_scikit_learns_kernel_ridge():
    X, y = clouds(120, 10, 3)
    head = KernelSearch(X, y, 3, width=0.5, l2=0.01).head()
    Z = (X - head.mean) / head.scale
    reference = KernelRidge(alpha=120 * 0.01, kernel="rbf", gamma=1 / head.width)
    theirs = reference.fit(Z, np.eye(3)[y] - 1 / 3).predict(Z) + 1 / 3
    np.testing.assert_allclose(head.decision_function(X), theirs, atol=1e-5)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_groups_are_left_out_exactly(class_weight):
    """What follows from one decomposition is what a fit without the group predicts."""
    X, y = clouds(90, 8, 3)
    y[:20] = 0
    groups = np.r_[np.arange(30), np.arange(60) // 4]
    search = KernelSearch(X, y, 3, groups, class_weight, width=1.0, l2=0.003)
    together = search.out_of_fold(blocks_of(groups))
    K = kernel.gaussian(search._Z, search._Z, search._median)
    weight = search._root[:, 0] ** 2
    for group in (0, 3, 14, 20):
        out = np.flatnonzero(groups == group)
        rest = np.flatnonzero(groups != group)
        ridge = 90 * 0.003 * np.diag(1 / weight[rest])
        dual = np.linalg.solve(K[np.ix_(rest, rest)] + ridge, np.eye(3)[y[rest]] - 1 / 3)
        np.testing.assert_allclose(together[out], K[np.ix_(out, rest)] @ dual + 1 / 3, atol=1e-8)


def test_copies_do_not_flatter_the_choice():
    """Every image twice, labels at random: alone, each is predicted from its copy; as groups, by chance."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(60, 8)), 2, axis=0).astype(np.float32)
    y = np.repeat(rng.permutation(np.arange(60) % 2), 2)
    assert KernelSearch(X, y, 2).best.accuracy == 1.0
    assert KernelSearch(X, y, 2, np.repeat(np.arange(60), 2)).best.accuracy < 0.7


def test_curved_borders():
    X, y = rings(300)
    accuracy = {
        name: make_method(name).fit(task(X, y), None).choice["cv_accuracy"] for name in ("kernel", "probe")
    }
    assert accuracy["kernel"] > 0.9 > 0.6 > accuracy["probe"]


def test_probabilities_are_calibrated():
    X, y = clouds(3300, 10, 3, apart=0.8)
    fitted = make_method("kernel").fit(task(X[:300], y[:300]), None)
    scores = fitted.decision_function(images(X[300:], y[300:]))
    result = evaluate(y[300:], softmax(scores), ("0", "1", "2"))
    assert result.ece < 0.05
    assert result.accuracy == pytest.approx(fitted.choice["cv_accuracy"], abs=0.05)


def test_many_images_are_approximated_and_that_is_said(monkeypatch):
    X, y = rings(400)
    exact = make_method("kernel", width=0.5, l2=0.001).fit(task(X[:300], y[:300]), None)
    monkeypatch.setattr(kernel, "EXACT", 200)
    monkeypatch.setattr(kernel, "LANDMARKS", 150)
    said = []
    given = task(X[:300], y[:300])
    object.__setattr__(given, "log", said.append)
    near = make_method("kernel", width=0.5, l2=0.001).fit(given, None)
    assert len(said) == 1
    assert "Nyström" in said[0]
    assert near.head.centres.shape == (150, 6)
    new = images(X[300:], y[300:])
    ours, theirs = near.decision_function(new), exact.decision_function(new)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.98
    assert near.choice["cv_accuracy"] == pytest.approx(exact.choice["cv_accuracy"], abs=0.02)
    assert near.choice["landmarks"] == 150


def test_as_many_landmarks_as_images_change_nothing(monkeypatch):
    X, y = clouds(150, 8, 3)
    exact = KernelSearch(X, y, 3, width=1.0)
    monkeypatch.setattr(kernel, "EXACT", 0)
    near = KernelSearch(X, y, 3, width=1.0)
    assert not near.exact
    np.testing.assert_allclose([p.loss for p in near.points], [p.loss for p in exact.points], atol=1e-4)
    np.testing.assert_allclose(near.head().decision_function(X), exact.head().decision_function(X), atol=1e-3)


@pytest.mark.slow
@needs_photographs
def test_sign_digits(tmp_path):
    run = finetune.fit(SHARED / "sign-digits", strategy="kernel", out=tmp_path / "run")
    assert run.test.accuracy >= 0.9
    assert run.test.ece <= 0.05
