"""Images unlike anything in training get small p-values, and others do not."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from finetune.evaluation import unfamiliar
from finetune.evaluation.unfamiliar import Unfamiliar


def _images(rng, n, groups=None, centre=1.0, d=50):
    """Features around one direction; images of one group are nearly the same."""
    index = np.arange(n) if groups is None else groups
    own = rng.normal(centre, 1, (index.max() + 1, d))
    return own[index] + rng.normal(0, 0.01, (len(index), d))


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_images_like_those_in_training_are_rejected_as_rarely_as_said(k, level):
    rng = np.random.default_rng(0)
    rejected = []
    for _ in range(60):
        p = Unfamiliar.fit(_images(rng, 100), k=k).predict(_images(rng, 100))
        rejected.append(np.mean(p <= level))
    assert abs(np.mean(rejected) - level) < 0.02


def test_copies_in_training_cause_no_alarms_where_groups_are_given():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 3)
    X, new = _images(rng, 180, groups), _images(rng, 300)
    assert np.mean(Unfamiliar.fit(X).predict(new) <= 0.05) > 0.8
    assert np.mean(Unfamiliar.fit(X, groups).predict(new) <= 0.05) < 0.12


def test_images_of_another_kind_are_detected():
    rng = np.random.default_rng(0)
    fitted = Unfamiliar.fit(_images(rng, 100))
    p = fitted.predict(_images(rng, 200, centre=-1.0))
    assert np.all(p == fitted.lowest)
    assert fitted.lowest == pytest.approx(1 / 101)


def test_nineteen_images_are_enough_for_the_level_of_one_in_twenty():
    rng = np.random.default_rng(0)
    for n, enough in ((18, False), (19, True)):
        p = Unfamiliar.fit(_images(rng, n)).predict(_images(rng, 5, centre=-1.0))
        assert np.all(p <= 0.05) == enough


def test_distances_and_p_values_by_hand():
    # Directions at 0, 10, 30 and 60 degrees; nearest neighbours at 10, 10, 20 and 30 degrees.
    angles = np.radians([0, 10, 30, 60])
    lengths = [[1], [2], [3], [4]]  # do not matter
    fitted = Unfamiliar.fit(np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths, k=1)
    np.testing.assert_allclose(fitted.distances, 1 - np.cos(np.radians([10, 10, 20, 30])), atol=1e-3)
    new = np.radians([5, 75, 45.5, 90, 180])  # nearest at 5, 15, 14.5, 30 (but for rounding) and 120 degrees
    p = fitted.predict(np.stack([np.cos(new), np.sin(new)], axis=1))
    assert p[[0, 1, 2, 4]] == pytest.approx([5 / 5, 3 / 5, 3 / 5, 1 / 5])


def test_every_group_has_the_same_weight():
    rng = np.random.default_rng(0)
    groups = np.r_[np.zeros(50, dtype=int), np.arange(1, 10)]
    fitted = Unfamiliar.fit(_images(rng, 59, groups), groups)
    steps = -np.diff(fitted.p_values)
    assert np.sum(np.isclose(steps, 1 / 11 / 50, atol=1e-6)) == 50
    assert np.sum(np.isclose(steps, 1 / 11, atol=1e-6)) == 9
    assert fitted.p_values[0] == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 3])
def test_the_kth_nearest_of_another_group_counts(k):
    rng = np.random.default_rng(0)
    groups = np.arange(40) // 2
    X = _images(rng, 40, groups)
    distances = cdist(X, X, "cosine")
    distances[groups[:, None] == groups] = np.inf
    found = Unfamiliar.fit(X, groups, k=k).distances
    np.testing.assert_allclose(found, np.sort(np.sort(distances, axis=1)[:, k - 1]), atol=1e-3)


def test_few_groups_lower_k_and_one_is_refused():
    X = _images(np.random.default_rng(0), 6)
    assert Unfamiliar.fit(X, [0, 0, 0, 0, 1, 1], k=5).k == 2
    with pytest.raises(ValueError, match="two groups"):
        Unfamiliar.fit(X, [0] * 6)


def test_more_than_two_thousand_images_are_subsampled(monkeypatch):
    monkeypatch.setattr(unfamiliar, "MAX_REFERENCES", 60)
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(70), 3)
    X = _images(rng, 210, groups)
    fitted = Unfamiliar.fit(X, groups)
    assert len(fitted.references) == 60
    assert len(fitted.distances) == 60
    assert np.mean(fitted.predict(_images(rng, 300)) <= 0.1) < 0.3
    again = Unfamiliar.fit(X, groups)
    assert np.array_equal(again.references, fitted.references)
    assert not np.array_equal(Unfamiliar.fit(X, groups, random_state=1).references, fitted.references)


def test_it_survives_storing():
    rng = np.random.default_rng(0)
    fitted = Unfamiliar.fit(_images(rng, 50), k=2)
    restored = Unfamiliar.from_arrays(fitted.to_arrays())
    new = _images(rng, 20)
    assert np.array_equal(restored.predict(new), fitted.predict(new))
    assert {name: array.dtype.name for name, array in fitted.to_arrays().items()} == {
        "references": "float16",
        "k": "int64",
        "distances": "float32",
        "p_values": "float64",
    }


@pytest.mark.parametrize(
    "call",
    [
        lambda: Unfamiliar.fit(np.zeros(3)),
        lambda: Unfamiliar.fit(np.eye(3), [0, 1]),
        lambda: Unfamiliar.fit(np.eye(3), k=0),
        lambda: Unfamiliar.fit(np.eye(3)).predict(np.eye(2)),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError, match="need"):
        call()
