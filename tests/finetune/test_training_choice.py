"""Which rate is taken, and when trying others ends."""

import dataclasses

import numpy as np
import pytest

from finetune.data.split import folds
from finetune.training import choice
from finetune.training.checkpoint import Checkpoints
from finetune.training.choice import Plan, choose
from finetune.training.learner import Diverged
from finetune.training.loop import Job, Outcome
from finetune.training.recipe import Recipe
from finetune.training.team import Team

N = 200
LABELS = np.arange(N) % 2


@pytest.fixture
def tried(monkeypatch):
    """Trainings that come to what `results` says of their rate: mistakes and a loss, or nothing at all."""
    results, rates = {}, []

    def train(job, rows, recipe, leg, name, *, validation, hopeless):
        rates.append(recipe.rate)
        if results[recipe.rate] is None:
            raise Diverged(f"The loss rose at {recipe.rate:g}.", "Try a lower --rate.")
        mistakes, sureness = results[recipe.rate]
        outcome = Outcome()
        for epoch in range(1, recipe.epochs + 1):
            called = LABELS[validation].copy()
            called[:mistakes] = 1 - called[:mistakes]
            # Noise that no temperature takes away makes the loss worse, without a mistake more.
            scores = np.random.default_rng(0).uniform(1 - sureness, 1, (len(called), 1)) * np.eye(2)[called]
            outcome.scores.append(scores.astype(np.float32))
            loss = 10.0 * mistakes / epoch + 1 - sureness
            outcome.log.append({"epoch": epoch, "loss": loss, "accuracy": 0.9, "validation_loss": loss})
            outcome.epoch = outcome.best = epoch
            if hopeless(outcome.log):
                break
        return outcome

    monkeypatch.setattr(choice, "train", train)
    return results, rates


def chosen(rates, epochs=3):
    job = Job(None, None, None, LABELS, 2, 0, Team(), print)
    plan = Plan(Recipe(rate=rates[0], epochs=epochs), rates)
    return choose(job, plan, Checkpoints(None), folds(LABELS, 2), lambda rows: None)


def test_where_no_other_rate_could_be_told_to_be_better_none_is_tried(tried):
    results, rates = tried
    results |= {1e-3: (5, 1.0)}
    found = chosen((1e-3, 3e-4, 3e-3))
    assert rates == [1e-3]
    assert found.recipe.rate == 1e-3
    assert found.record["validation_accuracy"] == pytest.approx(0.95)


def test_with_one_mistake_more_the_others_are_and_the_best_is_taken(tried):
    results, rates = tried
    results |= {1e-3: (12, 1.0), 3e-4: (6, 1.0), 3e-3: (30, 1.0), 9e-5: (14, 1.0)}
    found = chosen((1e-3, 3e-4, 3e-3))
    assert found.recipe.rate == 3e-4
    assert set(rates) == set(results)  # and one beyond the end at which the best was
    assert [r["rate"] for r in found.record["rates"]] == sorted(results)


def test_a_rate_that_is_lost_is_passed_over_and_said(tried):
    results, _ = tried
    results |= {1e-3: None, 3e-4: (3, 1.0)}
    found = chosen((1e-3, 3e-4, 3e-3))
    assert found.recipe.rate == 3e-4
    assert found.record["rates"][-1] == {"rate": 1e-3, "validation_loss": None}


def test_the_only_rate_lost_says_what_was_seen(tried):
    results, _ = tried
    results |= {0.5: None}
    with pytest.raises(Diverged, match=r"rose at 0\.5"):
        chosen((0.5,))


def test_every_rate_lost_names_the_lowest(tried):
    results, _ = tried
    results |= dict.fromkeys((1e-3, 3e-4, 3e-3))
    with pytest.raises(Diverged, match=r"at every rate from 0\.0003"):
        chosen((1e-3, 3e-4, 3e-3))


def test_small_data_is_judged_on_as_many_folds_as_it_takes():
    few = folds(np.arange(60) % 2, 5)
    assert len(choice._judges(few)) == 5
    assert len(choice._judges(folds(LABELS, 5))) == 3
    assert len(choice._judges(folds(np.arange(1000) % 2, 5))) == 1


def test_a_training_far_behind_is_given_up(tried):
    results, _ = tried
    results |= {1e-3: (6, 1.0), 3e-4: (6, 1.0), 3e-3: (60, 1.0)}
    found = chosen((1e-3, 3e-4, 3e-3))
    assert found.record["rates"][-1]["validation_loss"] is None
    assert dataclasses.asdict(found.recipe)["rate"] in (1e-3, 3e-4)
