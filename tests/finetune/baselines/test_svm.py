"""The linear SVM: scikit-learn's optimum, and a C that cross-validation chose."""

import numpy as np
import pytest
from samples import clouds, images, task
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from finetune.baselines.svm import SVM, squared_hinge
from finetune.evaluation import evaluate, softmax
from finetune.heads.linear import Problems, solve
from finetune.methods import make_method


def test_squared_hinge_by_hand():
    losses, slope = squared_hinge(np.array([[[0.5], [-2.0], [1.0]]]), np.array([0]))
    assert losses == pytest.approx(np.array([[0.25 + 0 + 4]]))  # (1 - 0.5)^2, nothing, (1 + 1)^2
    assert slope[0, :, 0] == pytest.approx([-1, 0, 4])


@pytest.mark.parametrize("c", [2, 4])
def test_the_search_has_linear_svcs_optimum(c):
    """Scores in cross-validation are those of the model that is kept."""
    X, y = clouds(200, 15, c, apart=0.7)
    C = 0.01
    problem = Problems(X, y, np.ones((1, len(y)), np.float32), c)
    ours = problem.scores(solve(problem, 1 / (C * len(y)), squared_hinge, tolerance=1e-6))[0].T
    Z = StandardScaler().fit_transform(X.astype(np.float64))
    reference = LinearSVC(C=C, intercept_scaling=100, tol=1e-8, max_iter=100_000).fit(Z, y)
    theirs = reference.decision_function(Z)
    np.testing.assert_allclose(ours[:, 1] if c == 2 else ours, theirs, atol=2e-3)
    kept = SVM()._linear_svc(task(X, y), X, C).decision_function(X)
    np.testing.assert_allclose(kept, ours, atol=0.02)


def test_probabilities_are_calibrated_on_held_out_scores():
    X, y = clouds(3300, 10, 3, apart=0.8)
    fitted = make_method("svm").fit(task(X[:300], y[:300]), None)
    logits = fitted.decision_function(images(X[300:], y[300:]))
    result = evaluate(y[300:], softmax(logits), ("0", "1", "2"))
    assert result.ece < 0.06
    assert result.accuracy == pytest.approx(fitted.choice["cv_accuracy"], abs=0.08)
    assert fitted.n_parameters == 3 * 11


def test_the_grid_grows_and_says_so():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 5)).astype(np.float32), np.arange(200) % 2
    X[:, 0] += 0.02 * y
    fitted = make_method("svm").fit(task(X, y), None)
    grid = [point["c"] for point in fitted.choice["curve"]]
    assert grid == sorted(grid)
    assert len(grid) > 7
    assert bool(fitted.warnings) == (fitted.choice["c"] in (grid[0], grid[-1]))


def test_balanced_helps_the_rare_class():
    rng = np.random.default_rng(1)
    y = np.r_[np.zeros(300, np.int64), np.ones(30, np.int64)]
    X = (rng.normal(size=(330, 5)) + 1.0 * y[:, None]).astype(np.float32)
    recalls = []
    for weight in ("none", "balanced"):
        fitted = make_method("svm", class_weight=weight).fit(task(X, y), None)
        recalls.append((fitted.decision_function(images(X, y)).argmax(axis=1)[y == 1] == 1).mean())
    assert recalls[1] > recalls[0] + 0.1
