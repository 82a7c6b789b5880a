"""Training and held-out images are told apart where they differ, and not where a split was random."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from finetune.evaluation import shift as module
from finetune.evaluation.shift import measure_shift


def _images(rng, n, d=60, groups=None):
    """Features of random images, positive as those after a ReLU; images of a group are nearly the same."""
    if groups is None:
        return np.maximum(rng.normal(size=(n, d)), 0)
    own = np.maximum(rng.normal(size=(groups.max() + 1, d)), 0)
    return np.maximum(own[groups] + rng.normal(0, 0.05, (n, d)), 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_random_split_is_no_other_kind(seed):
    X = _images(np.random.default_rng(seed), 300)
    assert not measure_shift(X[:240], X[240:]).differs


@pytest.mark.parametrize("seed", range(20))
def test_a_random_split_of_groups_is_no_other_kind(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), rng.integers(1, 10, 60))
    X = _images(rng, len(groups), groups=groups)
    held_out = groups >= 48
    assert not measure_shift(X[~held_out], X[held_out], groups[~held_out], groups[held_out]).differs


def test_whoever_ignores_the_groups_sees_another_kind():
    """Twenty groups of ten equal images, four of them held out: easily told apart image by image."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    X = _images(rng, 200, groups=groups)
    assert measure_shift(X[:160], X[160:]).differs
    assert not measure_shift(X[:160], X[160:], groups[:160], groups[160:]).differs


def test_p_values_of_random_splits_are_spread_evenly():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        X = _images(rng, 100, d=20)
        found.append(measure_shift(X[:70], X[70:]).p_value)
    assert abs(np.mean(found) - 0.5) < 0.14  # three standard errors of a uniform mean
    assert np.mean(np.array(found) < 0.1) < 0.25


def test_another_kind_is_seen():
    rng = np.random.default_rng(0)
    X = _images(rng, 300)
    X[240:, :10] *= 0.6
    found = measure_shift(X[:240], X[240:])
    assert found.differs
    assert found.auc > 0.65
    assert measure_shift(X[:240], X[240:]) == found


def test_held_out_copies_of_training_images_are_no_other_kind():
    rng = np.random.default_rng(0)
    X = _images(rng, 120)
    groups = np.arange(120)
    assert not measure_shift(X, X[:40], groups, groups[:40]).differs


def test_other_class_proportions_count_only_where_classes_are_not_given():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 150)
    X = _images(rng, 300)
    X[y == 1, :5] += 2
    held_out = np.r_[0:20, 150:230]
    train = np.setdiff1d(np.arange(300), held_out)
    assert measure_shift(X[train], X[held_out]).differs
    within = measure_shift(X[train], X[held_out], train_labels=y[train], test_labels=y[held_out])
    assert not within.differs


def test_scores_are_those_of_ridge_regressions_fitted_without_each_fold():
    rng = np.random.default_rng(0)
    X, y = _images(rng, 50, d=8), (np.arange(50) % 3 == 0).astype(float)
    fold = np.arange(50) % 5
    x = X / np.linalg.norm(X, axis=1, keepdims=True)
    x -= x.mean(axis=0)
    ridge = Ridge(alpha=module.RIDGE * np.mean((x**2).sum(axis=1)), fit_intercept=False)
    y -= y.mean()
    expected = np.zeros(50)
    for f in range(5):
        scores = ridge.fit(x[fold != f], y[fold != f]).predict(x[fold == f])
        expected[fold == f] = scores - scores.mean()
    np.testing.assert_allclose(module._out_of_fold(X, fold) @ y, expected, atol=1e-10)


def test_auc_equals_scikit_learn_over_the_pairs_of_one_class():
    rng = np.random.default_rng(0)
    scores, sides, label = rng.normal(size=(3, 40)), rng.integers(0, 2, (3, 40)), np.repeat([0, 1], [25, 15])
    for one, side, found in zip(scores, sides, module._auc(scores, sides, label), strict=True):
        parts = [(roc_auc_score(side[label == c], one[label == c]), side[label == c]) for c in (0, 1)]
        pairs = [s.sum() * (len(s) - s.sum()) for _, s in parts]
        assert found == pytest.approx(np.average([auc for auc, _ in parts], weights=pairs))


def test_whole_groups_are_drawn_up_to_the_bound():
    rng = np.random.default_rng(0)
    side = np.repeat([0, 1], [3000, 900])
    group = np.arange(3900) // 7
    rows = module._subsample(side, group, rng)
    assert 970 <= len(rows) <= 1000
    assert 480 <= side[rows].sum() <= 500
    whole = np.bincount(group[rows], minlength=group.max() + 1)
    assert set(whole) <= {0, 7, np.sum((group == 428) & (side == 0)), np.sum((group == 428) & (side == 1))}


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.zeros((0, 2)), np.zeros((1, 2)), "features"),
        (np.zeros((3, 2)), np.zeros((1, 3)), "features"),
    ],
)
def test_what_cannot_be_compared_is_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        measure_shift(train, test)


def test_sides_without_a_class_in_common_are_refused():
    X = np.eye(6)
    with pytest.raises(ValueError, match="no class"):
        measure_shift(X[:3], X[3:], train_labels=[0, 0, 0], test_labels=[1, 1, 1])
    with pytest.raises(ValueError, match="for 6 images"):
        measure_shift(X[:3], X[3:], [0, 1, 2], [3])


def test_one_image_on_a_side_is_no_evidence():
    X = _images(np.random.default_rng(0), 8)
    assert not measure_shift(X[:7], X[7:]).differs
    assert not measure_shift(np.ones((3, 4)), np.ones((2, 4))).differs
