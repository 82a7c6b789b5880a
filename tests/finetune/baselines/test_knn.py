"""Nearest neighbours: scikit-learn's predictions, its grid search from one matrix."""

import numpy as np
import pytest
from samples import clouds, images, task
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier

from finetune.errors import OptionError
from finetune.heads import distances
from finetune.heads.distances import DISTANCES, lengths, ranks, ranks_within
from finetune.heads.knn import Neighbours
from finetune.heads.neighbours import WEIGHTS, votes
from finetune.methods import make_method

METRICS = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}


def theirs(X, y, Q, k, distance, weights):
    model = KNeighborsClassifier(k, metric=METRICS[distance], weights=weights, algorithm="brute")
    return model.fit(X, y).predict(Q)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_predictions_are_scikit_learns_on_features(distance, weights):
    X, y = clouds(400, 40, 4)
    Q, _ = clouds(200, 40, 4, seed=1)
    for k in (1, 2, 7, 30):
        ours = Neighbours(X, y, 4, k, distance, weights).decision_function(Q).argmax(axis=1)
        assert np.array_equal(ours, theirs(X, y, Q, k, distance, weights))


@pytest.mark.parametrize("distance", DISTANCES)
def test_cross_validation_is_the_grid_search(distance):
    X, y = clouds(180, 20, 3)
    given = task(X, y)
    fitted = make_method("knn", max_k=25, metric=distance).fit(given, None)
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
    assert len(fitted.history) == 50
    for line in fitted.history:
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
    whole = make_method("knn").fit(task(X, y), None).choice
    monkeypatch.setattr(distances, "WHOLE", 100)
    assert make_method("knn").fit(task(X, y), None).choice == whole


def test_a_neighbour_at_distance_0_votes_alone():
    counted = votes(np.array([[1, 0, 0]]), np.array([[0.0, 0.1, 0.1]]), "distance", 2)
    assert counted.tolist() == [[0, 1]]


def test_no_probability_is_0():
    X, y = clouds(150, 5, 3, apart=3)
    fitted = make_method("knn").fit(task(X, y), None)
    assert np.isfinite(fitted.decision_function(images(X, y))).all()


def test_a_class_without_training_images_is_possible():
    X, y = clouds(30, 5, 2)
    scores = Neighbours(X, y, 3, 5, "l2", "uniform").decision_function(X)
    assert scores.shape == (30, 3)
    assert (scores.argmax(axis=1) < 2).all()
    assert np.isfinite(scores).all()


def test_the_largest_k_is_worth_a_warning():
    X, y = clouds(300, 2, 2, apart=0.3)
    fitted = make_method("knn", max_k=3, weights="uniform").fit(task(X, y), None)
    assert fitted.choice["k"] == 3
    assert "--max-k" in fitted.warnings[0]


def test_every_option_out_of_range_is_named():
    with pytest.raises(OptionError) as found:
        make_method("knn", max_k=0, metric="l3", weights="heavy")
    for flag in ("--max-k", "--metric", "--weights"):
        assert flag in found.value.problem
        assert flag in found.value.next_step
