"""Nearest neighbours: scikit-learn's predictions to the last tie, its grid search from one matrix."""

import numpy as np
import pytest
from samples import clouds, images, task
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier

from finetune.baselines import distances, knn
from finetune.baselines.knn import Neighbours
from finetune.errors import OptionError
from finetune.heads.distances import DISTANCES, lengths, ranks, ranks_within
from finetune.heads.neighbours import WEIGHTS, votes

METRICS = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}


def theirs(X, y, Q, k, distance, weights):
    model = KNeighborsClassifier(k, metric=METRICS[distance], weights=weights, algorithm="brute")
    return model.fit(X, y).predict(Q)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_are_scikit_learns_on_data_full_of_ties(distance, weights, dtype):
    """Whole numbers from 0 to 3 in up to 5 dimensions: ties of distance, of votes, and duplicates."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        n, m, d, c = (int(rng.integers(*bounds)) for bounds in ((6, 200), (1, 60), (1, 6), (2, 6)))
        X, Q = (rng.integers(0, 4, (rows, d)).astype(dtype) for rows in (n, m))
        y = np.r_[np.arange(c), rng.integers(0, c, n - c)]
        k = int(rng.integers(1, min(n, 30) + 1))
        ours = Neighbours(X, y, c, k, distance, weights)
        wrong = ours.predict(Q) != theirs(X, y, Q, k, distance, weights)
        if weights == "distance":  # where sums of 1 / distance are equal but for rounding, either may win
            first, second = np.sort(ours.votes(Q), axis=1)[:, :-3:-1].T
            wrong &= first - second > 1e-9 * first
        assert not wrong.any()


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_predictions_are_scikit_learns_on_features(distance, weights):
    X, y = clouds(400, 40, 4)
    Q, _ = clouds(200, 40, 4, seed=1)
    for k in (1, 2, 7, 30):
        ours = Neighbours(X, y, 4, k, distance, weights).predict(Q)
        assert np.array_equal(ours, theirs(X, y, Q, k, distance, weights))


@pytest.mark.parametrize("distance", DISTANCES)
def test_cross_validation_is_the_grid_search(distance):
    X, y = clouds(180, 20, 3)
    given = task(X, y)
    fitted = knn.fit(given, None, knn.Options(max_k=25, distance=distance))
    search = GridSearchCV(
        KNeighborsClassifier(metric=METRICS[distance], algorithm="brute"),
        {"weights": list(WEIGHTS), "n_neighbors": list(range(1, 26))},
        cv=given.folds.pairs,
    ).fit(X, y)
    expected = {
        (p["weights"], p["n_neighbors"]): (mean, std)
        for p, mean, std in zip(
            search.cv_results_["params"],
            search.cv_results_["mean_test_score"],
            search.cv_results_["std_test_score"],
            strict=True,
        )
    }
    assert len(fitted.log) == 50
    for line in fitted.log:
        found = line["cv_accuracy"], line["cv_std"]
        assert found == pytest.approx(expected[line["weights"], line["k"]])
    assert fitted.choice["cv_accuracy"] == pytest.approx(search.best_score_)
    assert [point["k"] for point in fitted.choice["curve"]] == list(range(1, 26))


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances(distance, monkeypatch):
    X, _ = clouds(300, 17)
    expected = pairwise_distances(X.astype(np.float64), metric=METRICS[distance])
    ((rows, whole),) = ranks_within(X, distance)
    assert rows.tolist() == list(range(300))
    np.testing.assert_allclose(lengths(whole, distance), expected, atol=1e-6)
    np.testing.assert_allclose(lengths(ranks(X[:50], X, distance), distance), expected[:50], atol=1e-6)
    monkeypatch.setattr(distances, "WHOLE", 100)  # as if there were too many for one matrix
    pieces = list(ranks_within(X, distance))
    assert np.concatenate([rows for rows, _ in pieces]).tolist() == list(range(300))
    np.testing.assert_allclose(np.concatenate([part for _, part in pieces]), whole, atol=1e-6)


def test_too_many_for_one_matrix_give_the_same_choice(monkeypatch):
    X, y = clouds(300, 17)
    whole = knn.fit(task(X, y), None, knn.Options()).choice
    monkeypatch.setattr(distances, "WHOLE", 100)
    assert knn.fit(task(X, y), None, knn.Options()).choice == whole


def test_a_neighbour_at_distance_0_votes_alone():
    counted = votes(np.array([[1, 0, 0]]), np.array([[0.0, 0.1, 0.1]]), "distance", 2)
    assert counted.tolist() == [[0, 1]]


def test_probabilities_follow_the_votes_and_none_is_0():
    X, y = clouds(150, 5, 3, apart=3)
    fitted = knn.fit(task(X, y), None, knn.Options())
    logits = fitted.logits(images(X, y))
    assert np.isfinite(logits).all()
    assert np.array_equal(logits.argmax(axis=1), fitted.head.predict(X))


def test_arrays_come_back_from_disk(tmp_path):
    X, y = clouds()
    head = knn.fit(task(X, y), None, knn.Options()).head
    back = Neighbours.load(tmp_path, head.save(tmp_path))
    assert np.array_equal(back.scores(X), head.scores(X))


def test_the_largest_k_is_worth_a_warning():
    X, y = clouds(300, 2, 2, apart=0.3)
    fitted = knn.fit(task(X, y), None, knn.Options(max_k=3, weights="uniform"))
    assert fitted.choice["k"] == 3
    assert "--max-k" in fitted.warnings[0]


@pytest.mark.parametrize("given", [{"max_k": 0}, {"distance": "l3"}, {"weights": "heavy"}])
def test_options_out_of_range(given):
    with pytest.raises(OptionError, match=r"Give 1|Choose one of"):
        knn.Options(**given)
