"""What the race tries, what it leaves out, and what it takes."""

import numpy as np
import pytest

from finetune.auto.budget import Budget, check_minutes, duration
from finetune.auto.candidates import FEWEST_EPOCHS, Candidate, on_features, references, trainings
from finetune.auto.outcome import Outcome, Results
from finetune.auto.standing import Standing
from finetune.errors import OptionError
from finetune.hint import more_to_be_had
from finetune.likeness import Likeness
from finetune.training.speed import TrainingSpeed

LABELS = np.arange(120) % 3


def outcome(name, right, rows=None, cost=1.0, **more):
    """A candidate that is right, with certainty, on those images that `right` says."""
    rows = np.arange(len(LABELS)) if rows is None else rows
    scores = np.zeros((len(rows), 3))
    right = np.broadcast_to(right, len(rows))
    scores[np.arange(len(rows)), np.where(right, LABELS[rows], (LABELS[rows] + 1) % 3)] = 3.0
    return Outcome(Candidate(name, "net"), rows, scores, cost, 1.0, 2.0, **more)


def share(correct):
    return np.random.default_rng(0).permutation(len(LABELS)) < correct * len(LABELS)


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_taken():
    standing = Standing(LABELS, None)
    good = outcome("kernel", share(0.9), cost=1.1)
    alike = share(0.9).copy()
    alike[[*np.flatnonzero(alike)[:2], *np.flatnonzero(~alike)[:1]]] ^= True  # two worse, one better
    cheap, poor = outcome("probe", alike), outcome("knn", share(0.6), cost=0.5)
    assert standing.best([good, cheap, poor]) is cheap
    assert standing.alike(good, cheap, [good, cheap, poor])
    assert not standing.alike(poor, cheap, [good, cheap, poor])


def test_what_is_judged_on_fewer_images_must_be_better_on_these():
    standing, rows = Standing(LABELS, None), np.arange(0, 120, 5)
    probe = outcome("probe", share(0.7))
    same = outcome("last-layers", share(0.7)[rows], rows, cost=0.1)
    better = outcome("last-layers", True, rows)
    assert standing.best([probe, same]) is probe
    assert standing.best([probe, better]) is better
    dropped = outcome("last-layers", True, rows, status="dropped")
    assert standing.best([probe, dropped]) is probe
    found = standing.corrected(better, [probe, better], 0)
    assert found.uncorrected == 1.0


def test_outcomes_are_found_again_and_damaged_ones_are_not(tmp_path):
    results = Results(tmp_path)
    tried = outcome("probe", share(0.8), reason="x")
    results.store(tried)
    found = results.find(tried.candidate)
    assert np.array_equal(found.scores, tried.scores)
    assert (found.cost, found.reason, found.status) == (1.0, "x", "tried")
    assert results.find(Candidate("probe", "net", {"features": "last"})) is None
    next(tmp_path.glob("*.safetensors")).write_bytes(b"half")
    assert results.find(tried.candidate) is None
    assert results.spent == 0
    results.note_time(12.5)
    assert Results(tmp_path).spent == 12.5


def test_minutes_that_are_none():
    for minutes in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="--minutes"):
            check_minutes(minutes)
    assert Budget(1, spent=30).left == pytest.approx(25, abs=0.1)
    assert (duration(0.2), duration(40), duration(150)) == ("1 s", "40 s", "2 min")


def test_candidates_are_methods_with_options_that_they_have():
    for candidate in [*references(), *on_features("net"), *trainings("last-layers", "net", 1000)]:
        assert candidate.method().name == candidate.strategy
    keys = [c.key for c in [*references(), *on_features("net"), *on_features("other")]]
    assert len(set(keys)) == len(keys)
    for strategy in ("last-layers", "full"):
        cuts = [c.method().options for c in trainings(strategy, "net", 1000)]
        assert cuts[0].lr is None
        assert all(options.lr is not None for options in cuts[1:])
        assert min(options.epochs or FEWEST_EPOCHS for options in cuts) >= FEWEST_EPOCHS


def test_quicker_settings_are_predicted_to_be_quicker():
    from finetune.data.split import folds

    speed = TrainingSpeed(setup=5.0, view=0.01, update=0.02, scoring=0.005, predicting=0.02)
    dealt = folds(np.arange(1000) % 2, 5)
    seconds = []
    for candidate in trainings("last-layers", "net", 1000):
        options = candidate.method().options
        tries = len(options.learning_rates(1000))
        options = options.resolved(1000)
        seconds.append(speed.choosing(options, dealt, 1000, tries) + speed.finishing(options, 1000, 100))
    assert seconds == sorted(seconds, reverse=True)
    # By hand, one view and eight epochs: a training without a fold, its evaluations, the last training.
    by_hand = 5 + 1000 * 0.01 + 8 * 800 * 0.02 + 200 * 12 * 0.005 + 8 * 1000 * 0.02 + 100 * 0.02
    assert seconds[-1] == pytest.approx(by_hand)


def test_the_hint_needs_images_mistakes_and_another_kind_than_imagenets():
    unlike, like = Likeness(0.82, 0.74), Likeness(0.95, 0.55)
    assert more_to_be_had(165, 73, 1651, unlike)
    assert not more_to_be_had(165, 73, 1651, like)
    assert not more_to_be_had(20, 73, 1651, unlike)
    assert not more_to_be_had(165, 40, 1651, unlike)
    assert not more_to_be_had(40, 5, 80, unlike)
