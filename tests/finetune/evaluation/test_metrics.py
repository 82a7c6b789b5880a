"""Every measure equals scikit-learn's, over random studies with missing classes and ties."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from finetune.evaluation import metrics
from finetune.evaluation.metrics import evaluate


@st.composite
def studies(draw):
    """Labels and probabilities; few images and many classes, so that some classes are never seen."""
    k = draw(st.integers(2, 6))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = rng.dirichlet(np.full(k, draw(st.sampled_from([0.1, 1.0, 10.0]))), n)
    if draw(st.booleans()):  # one-hot rows: many ties, and probabilities of exactly 0 and 1
        p = np.eye(k)[p.argmax(axis=1)]
    return rng.integers(0, k, n), p


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=150, deadline=None)
@given(studies())
def test_all_measures_equal_scikit_learn(study):
    y, p = study
    k = p.shape[1]
    predicted = p.argmax(axis=1)
    found = evaluate(y, p, [f"class {i}" for i in range(k)])

    assert found.n == len(y)
    assert found.accuracy == pytest.approx(sk.accuracy_score(y, predicted))
    assert found.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert found.macro_f1 == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert found.log_loss == pytest.approx(sk.log_loss(y, p, labels=range(k)))
    assert found.confusion == sk.confusion_matrix(y, predicted, labels=range(k)).tolist()
    table = sk.precision_recall_fscore_support(y, predicted, labels=range(k), zero_division=0)
    for scores, expected in zip(found.per_class.values(), zip(*table, strict=True), strict=True):
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(studies(), st.booleans())
def test_the_interval_holds_the_accuracy(study, grouped):
    y, p = study
    found = evaluate(y, p, [str(i) for i in range(p.shape[1])], np.arange(len(y)) // 3 if grouped else None)
    assert 0 <= found.ece <= 1
    assert 0 <= found.ci95[0] <= found.accuracy <= found.ci95[1] <= 1


def test_groups_change_the_interval_only():
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 50), 6)
    p = np.repeat(rng.dirichlet([1, 1], 50), 6, axis=0)
    alone, grouped = evaluate(y, p, ["a", "b"]), evaluate(y, p, ["a", "b"], np.repeat(np.arange(50), 6))
    assert grouped.ci95[1] - grouped.ci95[0] > 2 * (alone.ci95[1] - alone.ci95[0])
    assert (grouped.n, grouped.n_groups, alone.n_groups) == (300, 50, None)
    assert grouped.n_effective == pytest.approx(49)
    assert (alone.ci_method, grouped.ci_method[:17]) == ("wilson", "cluster bootstrap")
    changed = {"ci95": alone.ci95, "ci_method": "wilson", "n_groups": None, "n_effective": None}
    assert replace(grouped, **changed) == alone


def test_evaluation_holds_plain_numbers_only():
    found = evaluate(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32), ["a", "b"])
    assert type(found.accuracy) is float
    assert type(found.confusion[0][0]) is int
    assert type(found.per_class["b"].support) is int


def test_a_class_without_test_images_counts_only_where_it_was_predicted():
    y, p = [0, 0, 1, 1], np.eye(4)[[0, 0, 1, 2]]  # class 2 was predicted once but has no image; class 3 never
    found = evaluate(y, p, list("abcd"))
    assert found.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert found.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_calibration_error_by_hand():
    # 20 images, hence two bins of ten: predicted with 0.6, half of them right; predicted with 0.9, all right.
    p = np.array([[0.6, 0.4]] * 10 + [[0.9, 0.1]] * 10)
    y = np.array([0, 1] * 5 + [0] * 10)
    assert metrics.calibration_error(y, p) == pytest.approx((0.1 + 0.1) / 2)


def test_calibration_error_is_zero_for_a_perfect_oracle_and_near_zero_for_a_calibrated_one():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 20_000)
    y = (rng.random(len(p))[:, None] > p.cumsum(axis=1)).sum(axis=1)
    assert metrics.calibration_error(y, p) < 0.02
    assert metrics.calibration_error(y, np.eye(3)[y]) == 0


@settings(max_examples=50, deadline=None)
@given(studies(), st.integers(0, 1000))
def test_the_order_of_images_does_not_matter(study, seed):
    y, p = study
    order = np.random.default_rng(seed).permutation(len(y))
    assert metrics.calibration_error(y, p) == pytest.approx(metrics.calibration_error(y[order], p[order]))


def test_a_confident_mistake_costs_a_finite_log_loss():
    assert metrics.log_loss([1], [[1.0, 0.0]]) == pytest.approx(-math.log(np.finfo(float).eps))


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([], np.empty((0, 2))),
        ([0, 1], [[1.0, 0.0]]),
        ([2], [[0.5, 0.5]]),
        ([-1], [[0.5, 0.5]]),
        ([0.5], [[0.5, 0.5]]),
        ([0], [[2.0, 1.0]]),  # logits
        ([0], [[math.nan, 0.5]]),
        ([0], [[0.2, 0.3, 0.5]]),  # three columns, two classes
    ],
)
def test_what_cannot_be_evaluated_is_refused(y, p):
    with pytest.raises((ValueError, TypeError)):
        evaluate(np.asarray(y), np.asarray(p), ["a", "b"])
