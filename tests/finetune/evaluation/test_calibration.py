"""Temperature scaling finds the best temperature and never makes things worse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy.optimize import minimize_scalar

from finetune.evaluation import fit_temperature, log_softmax, softmax
from finetune.evaluation.metrics import log_loss


def _loss(logits, y, temperature):
    return float(-log_softmax(np.asarray(logits) / temperature)[np.arange(len(y)), y].mean())


def _sampled(seed, n=4000, k=5):
    """Logits, and labels drawn from their own softmax: perfectly calibrated at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, k))
    return logits, (rng.random(n)[:, None] > softmax(logits).cumsum(axis=1)).sum(axis=1)


def test_softmax_equals_scipy_and_survives_huge_scores():
    z = np.array([[1e4, 0, -1e4], [1.0, 2.0, 3.0]])
    np.testing.assert_allclose(softmax(z), special.softmax(z, axis=1), atol=1e-15)
    np.testing.assert_allclose(log_softmax(z), special.log_softmax(z, axis=1), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.2, 0.7, 1.0, 3.0, 12.0])
def test_a_known_temperature_is_recovered(temperature):
    logits, y = _sampled(0)
    assert fit_temperature(logits * temperature, y) == pytest.approx(temperature, rel=0.06)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.integers(2, 5))
def test_it_is_the_minimum_and_never_worse_than_no_temperature(seed, log10_scale, k):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 10**log10_scale, (30, k))
    y = rng.integers(0, k, 30)
    found = fit_temperature(logits, y)
    assert 0.05 <= found <= 20
    assert _loss(logits, y, found) <= _loss(logits, y, 1.0)
    best = minimize_scalar(lambda b: _loss(logits, y, 1 / b), bounds=(1 / 20, 20), method="bounded")
    assert _loss(logits, y, found) <= best.fun + 1e-7


def test_scores_without_a_mistake_give_the_lower_bound_and_finite_probabilities():
    logits, y = np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([0, 1])
    assert fit_temperature(logits, y) == pytest.approx(0.05)
    assert fit_temperature(logits, y, bounds=(0.5, 2)) == 0.5
    assert np.isfinite(log_loss(y, softmax(logits / 0.05)))


def test_scores_that_are_always_wrong_give_the_upper_bound():
    assert fit_temperature([[3.0, 0.0], [0.0, 5.0]], [1, 0]) == 20


def test_scores_that_say_nothing_are_left_alone():
    assert fit_temperature(np.zeros((4, 3)), [0, 1, 2, 0]) == 1
    assert fit_temperature(np.full((4, 3), 1e6), [0, 1, 2, 0]) == 1


@pytest.mark.parametrize(
    ("logits", "y", "bounds"),
    [
        (np.zeros((0, 2)), [], (0.05, 20)),
        ([[0.0, 1.0]], [0, 1], (0.05, 20)),
        ([[np.nan, 1.0]], [0], (0.05, 20)),
        ([[0.0, 1.0]], [0], (2, 20)),
    ],
)
def test_what_cannot_be_fitted_is_refused(logits, y, bounds):
    with pytest.raises(ValueError, match=r"logits|bounds"):
        fit_temperature(logits, np.asarray(y), bounds)
