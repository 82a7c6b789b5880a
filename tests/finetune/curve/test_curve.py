"""Accuracy over the number of training images, and beyond it."""

import json

import numpy as np
import pytest
from photos import crops
from samples import clouds, task

from finetune.cli.app import main
from finetune.curve.curve import learning_curve
from finetune.curve.power_law import fit_power_law
from finetune.curve.subsets import beginning, fractions, subset_plan
from finetune.data.split import folds
from finetune.method import Images
from finetune.report.learning_curve import curve_chart
from zoo.errors import DataError

# Subsets


def test_fractions_halve_down_to_some_images_a_class():
    assert fractions(320, 10) == [0.125, 0.25, 0.5, 1.0]
    assert fractions(30, 10) == [1.0]
    assert len(fractions(10**6, 2)) == 6


def test_sets_are_nested_stratified_and_hold_whole_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    labels = groups % 3
    dealt = folds(labels, 5, groups, 0, 2)
    before = [np.empty(0, np.int64)] * 10
    for share in (0.1, 0.25, 0.5, 1.0):
        plan = subset_plan(labels, dealt, share, groups, 0)
        for (train, held_out), rows, smaller in zip(dealt.pairs, plan.trains, before, strict=True):
            assert set(smaller) <= set(rows) <= set(train)
            assert not set(groups[rows]) & set(groups[held_out])
            assert set(np.flatnonzero(np.isin(groups, groups[rows]))) == set(rows)
            for c in range(3):
                of_class = (labels[train] == c).sum()
                assert abs((labels[rows] == c).sum() - share * of_class) <= 5
        before = plan.trains
    assert all(len(rows) == len(train) for rows, (train, _) in zip(before, dealt.pairs, strict=True))


def test_one_seed_one_order():
    labels, groups, rows = np.arange(40) % 2, np.arange(40), np.arange(40)
    a, b, c = (beginning(labels, groups, rows, 0.5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


# Power law


def simulated(rng, n=400, sizes=(25, 50, 100, 200, 400), a=0.05, b=0.9, c=0.5):
    """Errors of images that differ in how hard they are, at each size: their mean follows the law."""
    sizes = np.array(sizes, float)
    expected = a + b * sizes**-c
    hard = rng.random(n)
    return sizes, np.array([(hard < e).astype(float) for e in expected]), expected


def test_the_law_is_found_where_there_is_no_noise():
    sizes = np.array([25.0, 50, 100, 200, 400])
    errors = np.tile((0.05 + 0.9 * sizes**-0.5)[:, None], (1, 2000))
    law = fit_power_law(sizes, errors, np.full(5, 1e-4), np.arange(2000))
    assert np.median(law.accuracies(800)) == pytest.approx(0.95 - 0.9 * 800**-0.5, abs=0.003)
    assert np.median(law.c) == pytest.approx(0.5, abs=0.15)
    gain, low, high = law.gain(400, 800)
    assert low < gain < high
    assert gain == pytest.approx(0.9 * (400**-0.5 - 800**-0.5), abs=0.003)


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        sizes, errors, _ = simulated(rng)
        found = fit_power_law(sizes, errors, np.full(5, 0.004), np.arange(400), seed).at(800)
        held.append(found.ci95[0] <= 0.95 - 0.9 * 800**-0.5 <= found.ci95[1])
    assert np.mean(held) >= 0.9


def test_groups_widen_the_interval():
    rng = np.random.default_rng(0)
    sizes, errors, _ = simulated(rng, n=80)
    many = np.repeat(errors, 5, axis=1)
    alone = fit_power_law(sizes, many, np.full(5, 1e-3), np.arange(400)).at(800).ci95
    together = fit_power_law(sizes, many, np.full(5, 1e-3), np.repeat(np.arange(80), 5)).at(800).ci95
    assert together[1] - together[0] > 1.7 * (alone[1] - alone[0])


def test_accuracy_never_falls_with_more_images_nor_leaves_its_range():
    sizes = np.array([10.0, 20, 40])
    for errors in (np.zeros((3, 50)), np.ones((3, 50)), np.array([[0.1], [0.2], [0.3]]) * np.ones((3, 50))):
        law = fit_power_law(sizes, errors, np.zeros(3), np.arange(50))
        a, b = law.accuracies(40), law.accuracies(80)
        assert (b >= a).all()
        assert ((a >= 0) & (b <= 1)).all()


# The curve


def test_a_curve_of_overlapping_clouds_rises_and_foresees_more():
    X, y = clouds(1200, d=30, apart=0.45)
    found = learning_curve(task(X[:300], y[:300]), factor=4.0)
    accuracies = [point.accuracy for point in found.points]
    assert [point.n for point in found.points] == sorted({point.n for point in found.points})
    assert found.points[-1].n == 240
    assert accuracies[-1] > accuracies[0] + 0.1
    assert (found.now.n, found.more.n) == (300, 1200)
    # What really comes of four times as many, cross-validated.
    truth = learning_curve(task(X, y)).points[-1].accuracy
    assert found.more.ci95[0] <= truth <= found.more.ci95[1]
    assert found.gain95[1] - found.gain95[0] < found.more.ci95[1] - found.more.ci95[0]
    assert "4 times as many images would give about" in found.summary()
    assert found.to_dict()["summary"] == found.summary()
    assert curve_chart(found).count("<circle") >= len(found.points) + 2


def test_groups_are_counted():
    X, y = clouds(60, apart=0.6)
    X, y, groups = np.repeat(X, 4, axis=0), np.repeat(y, 4), np.repeat(np.arange(60), 4)
    one = task(X, y)
    train = Images(one.train.paths, y, X, groups)
    grouped = learning_curve(type(one)(train, folds(y, 5, groups), one.classes))
    alone = learning_curve(one)
    assert (grouped.n_groups, alone.n_groups) == (60, None)
    assert grouped.points[-1].accuracy < alone.points[-1].accuracy  # copies no longer help
    assert grouped.more.ci95[1] - grouped.more.ci95[0] > alone.more.ci95[1] - alone.more.ci95[0]


def test_sentences():
    X, y = clouds(300, apart=3.0)
    assert "less than one point more" in learning_curve(task(X, y)).summary()
    X, y = clouds(200, d=60, apart=0.35)
    assert "Twice as many images" in learning_curve(task(X, y)).summary()


def test_too_few_images_and_senseless_factors():
    X, y = clouds(12)
    with pytest.raises(DataError, match="too few for a curve"):
        learning_curve(task(X, y, n_folds=2))
    with pytest.raises(DataError, match="Give a number above 1"):
        learning_curve(task(*clouds(60)), factor=1.0)


# The command


def test_command(tmp_path, shared_cache, monkeypatch, capsys):
    from networks import Zoo

    model = f"local-dir:{Zoo(tmp_path)('test_efficientnet').folder}"
    crops(tmp_path / "photos", n=30, side=60)
    monkeypatch.chdir(tmp_path)
    words = ["curve", "--data", "photos", "--model", model, "--engine", "torch", "--features", "last"]
    assert main([*words, "--chart", "curve.svg", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["now"]["n"] == 48
    assert shown["more"]["n"] == 96
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
    assert main(words) == 0
    screen = capsys.readouterr().out
    assert "predicted: 2 times as many" in screen
    assert "Twice as many images would give about" in screen
    for extra, said in (
        (["--factor", "1"], "above 1"),
        (["--repeats", "0"], "1 or more"),
        (["--features", "some"], "--features"),
        (["--chart", "no/where.svg"], "cannot be written"),
    ):
        assert main([*words, *extra]) == 2
        assert said in capsys.readouterr().err
