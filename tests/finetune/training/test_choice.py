"""Which learning rate is taken, when trying others ends, and which alpha."""

import numpy as np
import pytest
from networks import DESCENT, with_

from finetune.data.split import folds, judging_folds
from finetune.evaluation.comparisons import standard_error
from finetune.method import Images, Task
from finetune.training import choice
from finetune.training.checkpoint import Checkpoints
from finetune.training.choice import choose
from finetune.training.interpolation import choose_alpha
from finetune.training.learner import Diverged
from finetune.training.loop import Job, Outcome
from finetune.training.team import Team

N = 200
LABELS = np.arange(N) % 2


def scores_with(mistakes, labels, sureness=1.0):
    """Scores of which the first few are wrong; noise that no temperature removes makes the loss worse."""
    predicted = labels.copy()
    predicted[:mistakes] = 1 - predicted[:mistakes]
    noise = np.random.default_rng(0).uniform(1 - sureness, 1, (len(labels), 1))
    return (noise * np.eye(2)[predicted]).astype(np.float32)


class FakeBench:
    """A bench whose trainings are those of the fixture; alpha below 1 predicts as the start does."""

    def __init__(self, epochs, start_mistakes, interpolated):
        self.job = Job(None, None, None, LABELS, 2, 0, Team())
        self.task = Task(Images((), LABELS, np.zeros((N, 1), np.float32)), None, ("a", "b"))
        self.options = with_(DESCENT, epochs=epochs, interpolate=interpolated)
        self.start_mistakes = start_mistakes

    def begin(self, rows):
        return {}

    def scores(self, rows):
        return scores_with(self.start_mistakes, LABELS[rows])


@pytest.fixture
def tried(monkeypatch):
    """Trainings that end as `results` says of their learning rate: mistakes by epoch, or None."""
    results, rates = {}, []

    def train(job, rows, options, checkpoint, name, *, validation, stop):
        rates.append(options.lr)
        if results[options.lr] is None:
            raise Diverged(f"The loss rose at {options.lr:g}.", "Try a lower --lr.")
        outcome, ended = Outcome(), results[options.lr]
        for epoch in range(1, options.epochs + 1):
            mistakes = ended[min(epoch, len(ended)) - 1] if isinstance(ended, tuple) else ended
            outcome.scores.append(scores_with(mistakes, LABELS[validation]))
            line = {"epoch": epoch, "loss": 0.1, "accuracy": 0.9, "validation_loss": 10.0 * mistakes / epoch}
            outcome.log.append(line)
            outcome.epoch = epoch
            if stop(outcome.log):
                break
        return outcome

    monkeypatch.setattr(choice, "train", train)
    monkeypatch.setattr(choice, "trained_state", lambda network: {})
    monkeypatch.setattr(choice, "interpolate", lambda network, start, end, alpha: None)
    return results, rates


def chosen(rates, epochs=3, start_mistakes=40, interpolated=True):
    bench = FakeBench(epochs, start_mistakes, interpolated)
    return choose(bench, rates, folds(LABELS, 2), Checkpoints())[:2]


def test_where_no_other_learning_rate_could_be_told_to_be_better_none_is_tried(tried):
    results, rates = tried
    results |= {1e-3: 5}
    found, _ = chosen((1e-3, 3e-4, 3e-3))
    assert rates == [1e-3]
    assert found["lr"] == 1e-3
    assert found["validation_accuracy"] == pytest.approx(0.95)


def test_with_one_mistake_more_the_others_are_and_the_best_is_taken(tried):
    results, rates = tried
    results |= {1e-3: 12, 3e-4: 6, 3e-3: 30, 9e-5: 14}
    found, _ = chosen((1e-3, 3e-4, 3e-3))
    assert found["lr"] == 3e-4
    assert set(rates) == set(results)  # and one beyond the end at which the best was
    assert [r["lr"] for r in found["learning_rates"]] == sorted(results)


def test_a_learning_rate_that_diverged_is_passed_over_and_recorded(tried):
    results, _ = tried
    results |= {1e-3: None, 3e-4: 3}
    found, _ = chosen((1e-3, 3e-4, 3e-3))
    assert found["lr"] == 3e-4
    assert found["learning_rates"][-1] == {"lr": 1e-3, "validation_loss": None}


def test_if_the_only_one_diverged_its_error_is_raised(tried):
    results, _ = tried
    results |= {0.5: None}
    with pytest.raises(Diverged, match=r"rose at 0\.5"):
        chosen((0.5,))


def test_if_all_diverged_the_lowest_is_named(tried):
    results, _ = tried
    results |= dict.fromkeys((1e-3, 3e-4, 3e-3))
    with pytest.raises(Diverged, match=r"at every learning rate from 0\.0003"):
        chosen((1e-3, 3e-4, 3e-3))


def test_few_images_are_judged_on_as_many_folds_as_it_takes():
    assert len(judging_folds(folds(np.arange(60) % 2, 5))) == 5
    assert len(judging_folds(folds(LABELS, 5))) == 3
    assert len(judging_folds(folds(np.arange(1000) % 2, 5))) == 1


def test_a_training_far_behind_is_pruned(tried):
    results, _ = tried
    results |= {1e-3: 6, 3e-4: 7, 3e-3: 60}
    found, _ = chosen((1e-3, 3e-4, 3e-3))
    assert found["learning_rates"][-1]["validation_loss"] is None
    assert found["lr"] == 1e-3


def test_the_last_epoch_counts_and_not_a_lucky_one(tried):
    """The first learning rate has its best epoch halfway; the other ends better."""
    results, _ = tried
    results |= {1e-3: (20, 7, 20), 3e-4: (20, 20, 8), 9e-5: 30, 3e-3: 40}
    found, _ = chosen((1e-3, 3e-4, 3e-3))
    assert found["lr"] == 3e-4
    assert found["epochs"] == 3
    assert found["validation_accuracy"] == pytest.approx(0.92)


def test_a_best_last_epoch_is_no_evidence_that_more_would_help(tried):
    results, _ = tried
    results |= {1e-3: (7, 5)}
    assert chosen((1e-3,), epochs=2)[1] == []
    results |= {1e-3: (40, 5)}
    (warning,) = chosen((1e-3,), epochs=2)[1]
    assert "--epochs" in warning


# Interpolation


def test_the_start_is_kept_where_training_is_not_better_by_one_standard_error(tried):
    results, _ = tried
    results |= {1e-3: 5}
    better, equal = (chosen((1e-3,), start_mistakes=n) for n in (40, 5))
    assert better[0]["alpha"] == 1
    assert better[1] == []
    assert equal[0]["alpha"] == 0
    assert "not better than the classifier it started from" in equal[1][0]
    assert [tried["alpha"] for tried in equal[0]["alphas"]] == [0, 0.25, 0.5, 0.75, 1]


def test_without_interpolation_the_trained_weights_are_kept_and_the_sentence_is_said(tried):
    results, _ = tried
    results |= {1e-3: 5}
    found, warnings = chosen((1e-3,), start_mistakes=5, interpolated=False)
    assert found["alpha"] == 1
    assert "--strategy probe" in warnings[0]


def test_the_smallest_alpha_within_one_standard_error_is_chosen():
    labels = LABELS[:100]
    scores = {0.0: scores_with(30, labels), 0.5: scores_with(10, labels), 1.0: scores_with(10, labels)}
    alpha, tried = choose_alpha(scores, labels)
    assert alpha == 0.5
    assert [line["validation_accuracy"] for line in tried] == [0.7, 0.9, 0.9]


def test_the_standard_error_of_groups_is_that_of_their_means():
    """Each value four times over, in groups: as uncertain as the values once."""
    values = np.random.default_rng(0).normal(size=30)
    once = standard_error(values)
    assert once == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert standard_error(np.repeat(values, 4), np.repeat(np.arange(30), 4)) == pytest.approx(once)
