"""The probe's solver: the right loss, the right optimum, every fold by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from finetune.heads.linear import HINGE_ROUNDING, LOSSES, Problems, hinge, softmax_loss, solve


def blobs(n=120, d=15, c=4, seed=0, apart=1.0):
    """Overlapping classes, with features of very different sizes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    X = rng.normal(size=(n, d)) + apart * rng.normal(size=(c, d))[y]
    return (X * rng.uniform(0.5, 2, d) + rng.uniform(0, 5, d)).astype(np.float32), y


def one(X, y, c, weights=None):
    return Problems(X, y, np.ones((1, len(y)), np.float32) if weights is None else weights[None], c)


@pytest.mark.parametrize(("loss", "at_start"), [("softmax", np.log(7)), ("hinge", 6.0)])
def test_loss_at_start(loss, at_start):
    """All scores equal: log c for softmax, c - 1 for the SVM (CS231n's first sanity check)."""
    X, y = blobs(c=7, n=140)
    value, _ = one(X, y, 7).objective(one(X, y, 7).start(), 0.0, LOSSES[loss])
    assert value[0] == pytest.approx(at_start, rel=1e-6)


def test_hinge_by_hand():
    scores = np.array([[[3.2], [5.1], [-1.7]]])  # the example of CS231n's notes: loss 2.9
    assert hinge(scores, np.array([0]))[0] == pytest.approx(np.array([[2.9]]))
    rounded, _ = hinge(np.array([[[1.0], [0.0]]]), np.array([0]))  # on the corner
    assert rounded.item() == pytest.approx(HINGE_ROUNDING / 8)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(LOSSES)), st.integers(0, 10**6), st.integers(2, 6))
def test_derivatives_numerically(loss, seed, c):
    """Central differences in float64: relative error below 1e-7."""
    rng = np.random.default_rng(seed)
    scores, y = rng.normal(size=(2, c, 5)), rng.integers(0, c, 5)
    direction = rng.normal(size=scores.shape)
    h = 1e-6
    above, below = (LOSSES[loss](scores + s * h * direction, y)[0].sum() for s in (1, -1))
    numeric = (above - below) / (2 * h)
    analytic = (LOSSES[loss](scores, y)[1] * direction).sum()
    # A parabola's end inside the step is a kink of the second derivative: 1e-5 there.
    assert abs(numeric - analytic) <= 1e-5 * max(abs(numeric), abs(analytic), 1)


@pytest.mark.parametrize("l2", [3.0, 0.1, 1e-3])
@pytest.mark.parametrize("even", [False, True])
def test_same_optimum_as_scikit_learn(l2, even):
    X, y = blobs(n=130, c=3)
    keep = np.r_[0:100, 100:130:3]  # classes of unequal size
    X, y = X[keep], np.where(np.arange(len(keep)) < 30, 0, y[keep])
    weights = np.ones(len(y), np.float32)
    if even:
        counts = np.bincount(y)
        weights = (len(y) / (3 * counts[y])).astype(np.float32)
    problem = one(X, y, 3, weights)
    theta = solve(problem, l2, tolerance=1e-6)
    ours, _ = problem.objective(theta, l2, softmax_loss)

    Z = StandardScaler().fit_transform(X.astype(np.float64))
    theirs = LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-8, max_iter=5000)
    theirs.fit(Z, y, sample_weight=weights)
    p = theirs.predict_log_proba(Z)[np.arange(len(y)), y]
    value = -(weights * p).sum() / weights.sum() + l2 / 2 * (theirs.coef_**2).sum()
    assert ours[0] == pytest.approx(value, rel=1e-4)
    scores = problem.classifier(theta).decision_function(X)
    assert (scores.argmax(axis=1) == theirs.predict(Z)).mean() > 0.99


def test_hinge_optimum_against_scipy():
    X, y = blobs()
    problem = one(X, y, 4)
    ours = problem.objective(solve(problem, 0.05, hinge, tolerance=1e-6), 0.05, hinge)[0][0]

    def objective(theta):
        value, grad = problem.objective(theta[None].astype(np.float32), 0.05, hinge)
        return value[0], grad[0].astype(np.float64)

    reference = minimize(
        objective, problem.start()[0], jac=True, method="L-BFGS-B", options={"maxiter": 2000}
    )
    assert ours == pytest.approx(reference.fun, rel=1e-3)


def test_every_fold_is_solved_as_if_alone():
    """A fold's solution, standardisation included, knows nothing of the rows held out."""
    X, y = blobs(n=100)
    weights = np.ones((4, 100), np.float32)
    fold_of = np.arange(100) // 4 % 4
    weights[fold_of[None] == np.arange(4)[:, None]] = 0
    X_other = X.copy()
    X_other[fold_of == 0] *= 50  # fold 0 holds these out, whatever stands there
    together = Problems(X, y, weights, 4)
    theta = solve(together, 0.1, tolerance=1e-6)
    changed = Problems(X_other, y, weights[:1], 4)
    alone = one(X[weights[0] > 0], y[weights[0] > 0], 4)
    expected = alone.classifier(solve(alone, 0.1, tolerance=1e-6)).decision_function(X)
    np.testing.assert_allclose(together.classifier(theta, 0).decision_function(X), expected, atol=2e-3)
    np.testing.assert_allclose(
        changed.classifier(solve(changed, 0.1, tolerance=1e-6)).decision_function(X), expected, atol=2e-2
    )


def test_standardisation_is_folded_exactly():
    X, y = blobs(seed=3)
    problem = one(X, y, 4)
    theta = solve(problem, 0.01)
    np.testing.assert_allclose(
        problem.classifier(theta).decision_function(X).T, problem.scores(theta)[0], rtol=1e-3, atol=1e-3
    )


def test_constant_and_rare_features_do_no_harm():
    X, y = blobs()
    X = np.concatenate([X, np.full((len(X), 1), 7, np.float32), np.zeros((len(X), 1), np.float32)], axis=1)
    X[0, -1] = 1e-3  # fires once in training, feebly
    problem = one(X, y, 4)
    classifier = problem.classifier(solve(problem, 0.01))
    new = X[:1].copy()
    new[0, -1] = 1.0  # and strongly on a new image
    assert np.isfinite(classifier.W).all()
    assert np.abs(classifier.decision_function(new) - classifier.decision_function(X[:1])).max() < 5


def test_all_features_constant():
    problem = one(np.ones((10, 3), np.float32), np.arange(10) % 2, 2)
    theta = solve(problem, 1.0)
    assert np.abs(theta).max() < 1e-6


def test_more_features_than_images():
    X, y = blobs(n=20, d=300)
    problem = one(X, y, 4)
    classifier = problem.classifier(solve(problem, 1e-3))
    assert (classifier.decision_function(X).argmax(axis=1) == y).all()


def test_same_bytes_twice():
    X, y = blobs()
    results = [solve(one(X, y, 4), 0.01).tobytes() for _ in range(2)]
    assert results[0] == results[1]
