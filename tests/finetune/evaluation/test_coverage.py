"""Prediction sets hold the right class as often as promised, and refuse to promise more."""

import json

import numpy as np
import pytest

from finetune.evaluation import softmax
from finetune.evaluation.coverage import PredictionSets, fit_prediction_sets, groups_needed


def _images(rng, sizes, groups=None, spread=1.0):
    """Probabilities and classes; images of one group have the same class and nearly the same scores.

    The probabilities are overconfident, as a network's are, which must not matter.
    """
    y = np.repeat(np.arange(len(sizes)), sizes)
    rng.shuffle(y)
    noise = rng.normal(0, spread, (len(y), len(sizes)))
    index = np.arange(len(y)) if groups is None else groups
    y = y[np.unique(index, return_index=True)[1]][index]
    return softmax(3 * (1.5 * np.eye(len(sizes))[y] + noise[index])), y


def _covered(sets, y):
    return sets[np.arange(len(y)), y]


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("method", ["lac", "aps"])
def test_coverage_is_what_was_promised(level, method):
    """Mean over 100 studies of 200 images."""
    rng = np.random.default_rng(0)
    shares, sizes = [], []
    for _ in range(100):
        fitted = fit_prediction_sets(*_images(rng, [50] * 4), method=method)
        p, y = _images(rng, [100] * 4)
        sets = fitted.predict(p, level)
        shares.append(_covered(sets, y).mean())
        sizes.append(sets.sum(axis=1).mean())
    # The average exceeds the level by at most 1 / (n + 1) of each class, and errs by half a point.
    assert level - 0.006 <= np.mean(shares) <= level + (0.015 if method == "lac" else 0.03)
    assert 1 < np.mean(sizes) < 4


def test_coverage_holds_for_images_of_new_groups():
    """40 groups of 1 or 30 images: weights by group, not by image."""
    rng = np.random.default_rng(0)
    shares, naive = [], []
    for _ in range(200):
        sizes = np.where(rng.random(40) < 0.5, 1, 30)
        groups = np.repeat(np.arange(40), sizes)
        p, y = _images(rng, [len(groups) // 2, len(groups) - len(groups) // 2], groups)
        new_p, new_y = _images(rng, [100, 100])  # each of a group of its own
        for found, used in ((shares, groups), (naive, None)):
            sets = fit_prediction_sets(p, y, used, method="lac").predict(new_p, 0.9)
            found.append(_covered(sets, new_y).mean())
    assert 0.89 <= np.mean(shares) <= 0.94
    assert np.std(naive) > np.std(shares)  # large groups alone would decide


def test_a_rare_class_is_covered_too():
    rng = np.random.default_rng(0)
    covered = {"auto": [], "lac": []}
    for _ in range(50):
        data = _images(rng, [300, 300, 40])
        # The rare class is hard: most of its probability goes to the first.
        p, y = _images(rng, [300, 300, 40])
        for q, z in (data, (p, y)):
            q[z == 2] = q[z == 2] * 0.4 + np.array([0.6, 0, 0])
        for method, found in covered.items():
            sets = fit_prediction_sets(*data, method=method).predict(p, 0.9)
            found.append(_covered(sets, y)[y == 2].mean())
    assert np.mean(covered["lac"]) < 0.85
    assert np.mean(covered["auto"]) > 0.89


def test_the_method_follows_the_class_sizes():
    p = np.full((90, 2), 0.5)
    assert fit_prediction_sets(p, np.repeat([0, 1], [60, 30])).method == "lac"
    assert fit_prediction_sets(p, np.repeat([0, 1], [61, 29])).method == "aps"


def test_a_class_with_too_few_images_takes_the_common_threshold():
    rng = np.random.default_rng(0)
    fitted = fit_prediction_sets(*_images(rng, [100, 100, 10]))
    first, second, rare = fitted.thresholds[0.95]
    assert min(first, second) <= rare <= max(first, second)


def test_scores_by_hand():
    # 19 images whose right class has these probabilities: at 95% the largest score counts.
    right = np.linspace(0.5, 0.95, 19)
    fitted = fit_prediction_sets(np.stack([right, 1 - right], axis=1), np.zeros(19, dtype=int), method="lac")
    assert fitted.thresholds[0.95] == pytest.approx((0.5, 0.5))
    assert fitted.thresholds[0.9] == pytest.approx((1 - right[1], 1 - right[1]))  # the 18th of 19
    assert 0.98 not in fitted.thresholds
    sets = fitted.predict([[0.7, 0.3], [0.5, 0.5], [0.1, 0.9]], 0.95)
    assert sets.tolist() == [[True, False], [True, True], [False, True]]
    adaptive = PredictionSets("aps", 19, 19, {0.95: (0.6, 0.6, 0.6)})
    assert adaptive.predict([[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]]).tolist() == [
        [True, True, False],
        [False, False, True],
    ]


def test_no_set_is_empty():
    narrow = PredictionSets("lac", 100, 100, {0.95: (0.1, 0.1)})
    assert narrow.predict([[0.6, 0.4]]).tolist() == [[True, False]]


def test_what_cannot_be_promised_is_refused_with_the_number():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(18), 10)
    fitted = fit_prediction_sets(*_images(rng, [90, 90], groups), groups)
    assert (fitted.n, fitted.n_groups) == (180, 18)
    with pytest.raises(
        ValueError, match=r"0\.95 needs at least 19 .* there are 18\. Choose .* at most 0\.9\."
    ):
        fitted.predict([[0.5, 0.5]], 0.95)
    assert fitted.predict([[0.5, 0.5]], 0.9).shape == (1, 2)


@pytest.mark.parametrize(("level", "n"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_so_many_images_are_needed(level, n):
    assert groups_needed(level) == n
    for count in (n - 1, n):
        fitted = fit_prediction_sets([[1.0, 0.0]] * max(count, 1), [0] * max(count, 1), method="lac")
        assert (level in fitted.thresholds) == (fitted.n_groups >= n)


def test_a_level_between_two_is_rounded_up():
    fitted = fit_prediction_sets(*_images(np.random.default_rng(0), [100, 100]))
    p = _images(np.random.default_rng(1), [100, 100])[0]
    assert np.array_equal(fitted.predict(p, 0.92), fitted.predict(p, 0.95))


def test_it_survives_json():
    fitted = fit_prediction_sets(*_images(np.random.default_rng(0), [100, 30]))
    assert PredictionSets.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit_prediction_sets([[0.5, 0.5]], [0, 1]),
        lambda: fit_prediction_sets([[0.5, 0.5]], [0], [1, 2]),
        lambda: PredictionSets("lac", 9, 9, {0.9: (0.5, 0.5)}).predict([[0.2, 0.3, 0.5]], 0.9),
        lambda: PredictionSets("lac", 9, 9, {0.9: (0.5, 0.5)}).predict([[0.5, 0.5]], 1),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError, match=r"need|between"):
        call()
