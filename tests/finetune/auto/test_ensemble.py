"""Averaged probabilities: which classifiers are taken, and that the saved model averages them."""

import numpy as np
from samples import clouds, images, task

from finetune.auto.ensemble import greedy
from finetune.evaluation.calibration import log_losses, softmax
from finetune.methods import make_method
from finetune.runs.ensemble import Ensemble, Member, averaged
from finetune.runs.saved import FittedHead, load_head


def scores(rng, y, noise):
    """Scores that are right on average, with errors of their own."""
    return 2 * np.eye(3)[y] + noise * rng.normal(size=(len(y), 3))


def test_probabilities_are_averaged():
    a, b = np.log([[0.8, 0.2]]), np.log([[0.4, 0.6]])
    np.testing.assert_allclose(np.exp(averaged([a, b], [0.75, 0.25])), [[0.7, 0.3]])


def test_candidates_with_errors_of_their_own_are_taken_and_a_bad_one_is_not():
    rng, y = np.random.default_rng(0), np.arange(600) % 3
    good = [scores(rng, y, 1.2), scores(rng, y, 1.2), scores(rng, (y + 1) % 3, 1.2)]
    members = greedy(good, y)
    assert set(members) == {0, 1}
    total = members.total()
    mixed = averaged([good[i] for i in members], [members[i] / total for i in members])
    alone = min(log_losses(each, y, 1.0).mean() for each in good)
    assert log_losses(mixed, y, 1.0).mean() < alone


def test_one_that_nothing_improves_stays_alone():
    y = np.arange(90) % 3
    perfect = 8 * np.eye(3)[y]
    assert set(greedy([perfect, np.zeros((90, 3))], y)) == {0}


def test_a_saved_ensemble_is_the_same(tmp_path):
    X, y = clouds(150, 12, 3)
    given = task(X, y)
    probe, kernel = (make_method(name).fit(given, None) for name in ("probe", "kernel"))
    members = (Member(probe.head, "last", 0.25), Member(kernel.head, "stages", 0.75))
    fitted = FittedHead.calibrated(
        given,
        None,
        Ensemble(members, 12),
        averaged([probe.out_of_fold, kernel.out_of_fold], [0.25, 0.75]),
        {"cv_accuracy": 0.9, "cv_std": 0.0},
        [],
        [],
    )
    fitted.save(tmp_path / "model")
    ours = fitted.decision_function(images(X, y))
    assert np.array_equal(load_head(tmp_path / "model", None).decision_function(X), ours)
    mixed = 0.25 * softmax(probe.decision_function(images(X, y)))
    mixed += 0.75 * softmax(kernel.decision_function(images(X, y)))
    assert np.array_equal(mixed.argmax(axis=1), ours.argmax(axis=1))
