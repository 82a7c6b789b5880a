"""What a comparison says: never more than the numbers do."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from samples import clouds
from scipy import stats

from finetune.compare.advice import advice
from finetune.compare.record import FoldScores, MethodResult
from finetune.compare.verdict import labels, like_best, pairs, ranked, verdict
from finetune.evaluation import evaluate
from finetune.likeness import Likeness, likeness, rule

LIKE, UNLIKE = Likeness(0.95, 0.55), Likeness(0.82, 0.74)


def result(name, right, folds=None, seconds=0.1, model="net"):
    """A method that called the images right that `right` says."""
    right = np.asarray(right, bool)
    y = np.arange(len(right)) % 2
    p = np.where(right == (y == 1), 0.9, 0.1)
    return MethodResult(
        name=name,
        model=None if name in ("raw", "raw-knn", "majority") else model,
        kind="reference" if name in ("raw", "raw-knn", "majority") else "baseline",
        test=evaluate(y, np.stack([1 - p, p], axis=1), ("a", "b")),
        correct="".join(np.where(right, "1", "0")),
        folds=None
        if folds is None
        else FoldScores(
            n_folds=5,
            repeats=len(folds) // 5,
            accuracies=list(folds),
            mean=float(np.mean(folds)),
            std=float(np.std(folds)),
            n_train=80,
            n_test=20,
            seconds=1,
        ),
        seconds=seconds,
        n_parameters=1,
        model_bytes=1,
        choice={},
        warnings=[],
    )


def right(n, hits):
    return np.arange(n) < hits


def judged(*results):
    table = ranked(results)
    tested = pairs(table)
    return table, tested, verdict(table, tested)


def test_two_images_apart_are_not_different():
    """93.5% and 94.8% of 153: what tutorials rank by."""
    table, tested, said = judged(result("probe", right(153, 143)), result("svm", right(153, 145)))
    assert labels(table) == ["svm", "probe"]
    assert like_best(table, tested) == ["probe"]
    assert "svm and probe do not differ significantly on 153 images (p = 0.50)" in said


def test_a_cheaper_equal_is_pointed_out_and_a_worse_one_named():
    slow = result("svm", right(153, 145), seconds=40.0)
    _, _, said = judged(result("probe", right(153, 145), seconds=1.0), slow, result("raw", right(153, 90)))
    assert "probe is 40 times cheaper to train (1.0 s against 40.0 s)" in said
    assert "is better than raw (p < 0.001)" in said


def test_folds_are_a_second_opinion():
    rng = np.random.default_rng(0)
    low = 0.85 + 0.01 * rng.normal(size=15)
    ahead = result("probe", right(100, 90), folds=low + 0.08 + 0.005 * rng.normal(size=15))
    behind = result("svm", right(100, 91), folds=low)
    _, tested, said = judged(ahead, behind)
    assert not tested[0].different
    assert "Over 15 folds of the training images, though, probe is 8" in said.replace("7.9", "8.0")
    assert "ahead of svm" in said


def test_folds_that_only_one_has_more_of_are_compared_over_the_common_ones():
    five = result("svm", right(50, 40), folds=[0.8, 0.7, 0.9, 0.8, 0.7])
    _, tested, _ = judged(five, result("probe", right(50, 45), folds=[0.9] * 15))
    assert tested[0].folds.folds == 5
    assert judged(five, result("knn", right(50, 40)))[1][0].folds is None


def test_a_reference_that_does_not_differ_is_no_success():
    table, tested, said = judged(result("probe", right(20, 13)), result("raw", right(20, 12)))
    assert "have not shown that a pretrained network helps" in said
    assert "without a CNN" in advice(table, tested, 100, LIKE)


def test_several_networks_are_named():
    table = [result("probe", right(20, 15), model=name) for name in ("one", "two")]
    assert labels(table) == ["probe on one", "probe on two"]


def test_one_method_alone_has_a_verdict():
    table, tested, said = judged(result("probe", right(20, 15)))
    assert tested == []
    assert said == "probe has an accuracy of 75.0% on 20 held-out images (53.1% to 88.8%)."
    assert advice(table, tested, 50, LIKE).startswith("Use probe")


@cache
def template(name):
    return result(name, [True])


def quick(name, correct):
    """As `result`, without all measures that the tests of methods do not look at."""
    made = template(name)
    test = replace(made.test, n=len(correct), accuracy=float(correct.mean()))
    return made.model_copy(update={"test": test, "correct": "".join(np.where(correct, "1", "0"))})


def test_equal_methods_are_rarely_called_different():
    """300 tables of four equally good methods on 50 to 500 images: some are told apart in at most 5%."""
    rng = np.random.default_rng(0)
    alarms = 0
    for n in rng.integers(50, 501, 300):
        hard = rng.random(n)
        table = ranked([quick(name, rng.random(n) > 0.4 * hard) for name in ("knn", "svm", "probe", "raw")])
        alarms += any(pair.different for pair in pairs(table))
    assert alarms <= stats.binom.ppf(0.99, 300, 0.05)


def test_images_of_one_thing_count_once():
    """Eight images only one method calls right are evidence; eight images of one thing are one."""
    table = ranked([result("probe", right(40, 30)), result("svm", right(40, 22))])
    alone = np.arange(40)
    together = np.where((alone >= 22) & (alone < 30), 22, alone)
    assert pairs(table)[0].different
    assert pairs(table, alone)[0] == pairs(table)[0]
    pair = pairs(table, together)[0]
    assert (pair.held_out.only_a, pair.held_out.p_value, pair.different) == (8, 1.0, False)


def test_equal_methods_on_groups_are_rarely_called_different():
    """Each method is right or wrong on a whole group; without groups half of the tables were wrong."""
    rng, alarms, without = np.random.default_rng(0), 0, 0
    for n in rng.integers(15, 60, 200):
        groups = np.repeat(np.arange(n), rng.integers(1, 13, n))
        table = ranked([result(name, (rng.random(n) < 0.8)[groups]) for name in ("knn", "probe")])
        alarms += pairs(table, groups)[0].different
        without += pairs(table)[0].different
    assert alarms <= stats.binom.ppf(0.99, 200, 0.05)
    assert without > 60


@pytest.mark.parametrize(
    ("images", "alike", "wanted"),
    [
        (30, LIKE, "probe"),
        (400, LIKE, "probe"),
        (30, UNLIKE, "last-layers"),
        (200, UNLIKE, "last-layers"),
        (2000, LIKE, "full"),
    ],
)
def test_the_rule(images, alike, wanted):
    assert rule(images, alike)[0] == wanted


def test_advice_never_contradicts_the_table():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(20, 300))
        table = ranked(
            [result(name, rng.random(n) < rng.uniform(0.3, 1)) for name in ("knn", "svm", "probe", "raw")]
        )
        tested = pairs(table)
        said = advice(
            table, tested, int(rng.integers(5, 2000)), Likeness(*np.sort(rng.uniform(0, 1, 2))[::-1])
        )
        top = {labels(table)[0], *like_best(table, tested)}
        if said.startswith("Use "):
            assert said.split()[1].strip(":.,") in top
            assert "raw" not in top
        else:
            assert "raw" in top


def test_likeness_is_high_where_features_know_what_pixels_do_not():
    X, y = clouds(200, 10, 2, apart=3)
    noise = np.random.default_rng(1).normal(size=(200, 10)).astype(np.float32)
    alike = likeness(X, noise, y)
    assert alike.like_imagenet
    assert not likeness(noise, X, y).like_imagenet
    assert Likeness(1.0, 1.0).gain == 1
