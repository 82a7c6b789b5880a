"""Splits: a partition, stratified, by group where asked, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.split import folds, hold_out
from zoo.errors import DataError

LABELS = st.lists(st.integers(0, 3), min_size=40, max_size=90).map(lambda extra: [0, 1, 2, 3] * 3 + extra)


@settings(max_examples=50, deadline=None)
@given(LABELS, st.integers(0, 50))
def test_held_out_fifth(labels, seed):
    y = np.array(labels)
    split = hold_out(y, seed=seed)
    assert sorted([*split.train, *split.test]) == list(range(len(y)))
    for label, count in enumerate(np.bincount(y)):
        held = (y[split.test] == label).sum()
        assert held >= 1
        assert count - held >= 2
        assert abs(held - count / 5) <= 1
    again = hold_out(y, seed=seed)
    assert np.array_equal(split.test, again.test)


@settings(max_examples=50, deadline=None)
@given(LABELS, st.integers(0, 50), st.integers(2, 6), st.integers(1, 2))
def test_folds_are_even(labels, seed, k, repeats):
    y = np.array(labels)
    made = folds(y, k, seed=seed, repeats=repeats)
    k = made.n_folds
    assert len(made.pairs) == k * repeats
    for repeat in range(repeats):
        pairs = made.pairs[repeat * k : (repeat + 1) * k]
        assert sorted(np.concatenate([held for _, held in pairs])) == list(range(len(y)))
        sizes = [len(held) for _, held in pairs]
        assert max(sizes) - min(sizes) <= 1
        for label in range(4):
            counts = [(y[held] == label).sum() for _, held in pairs]
            assert max(counts) - min(counts) <= 1
    for train, held in made.pairs:
        assert not set(train) & set(held)
        assert len(train) + len(held) == len(y)


def test_seeds_differ():
    y = np.arange(100) % 2
    assert not np.array_equal(hold_out(y, seed=0).test, hold_out(y, seed=1).test)


def test_folds_shrink_to_the_smallest_class():
    made = folds([0] * 20 + [1] * 3)
    assert made.n_folds == 3
    assert "3 folds instead of 5" in made.warning
    assert not folds([0] * 20 + [1] * 5).warning
    with pytest.raises(DataError):
        folds([0] * 20 + [1])


def test_own_split_stands():
    split = hold_out([0, 0, 1, 1], splits=["train", "test", "train", "test"], splits_from="column")
    assert split.test.tolist() == [1, 3]
    assert split.kind == "column"


def test_groups_never_straddle():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5).astype(str)
    y = np.repeat(rng.integers(0, 2, 40), 5)
    split = hold_out(y, groups=groups)
    assert split.kind == "grouped"
    assert not set(groups[split.train]) & set(groups[split.test])
    assert 0.1 < len(split.test) / len(y) < 0.35
    for train, held in folds(y, groups=groups).pairs:
        assert not set(groups[train]) & set(groups[held])


def test_one_group_cannot_be_split():
    with pytest.raises(DataError):
        hold_out([0, 1] * 10, groups=["all"] * 20)
    with pytest.raises(DataError):
        folds([0, 1] * 10, groups=["all"] * 20)


def test_groups_that_leave_a_class_in_one_fold():
    """Three groups, two folds, and each two of the groups share a class: two of them share a fold."""
    groups = np.array(["a", "b", "b", "c", "c", "a"])
    with pytest.raises(DataError, match="in one fold"):
        folds([0, 0, 1, 1, 2, 2], groups=groups)


def test_a_group_on_both_sides_of_a_given_split_is_said():
    split = hold_out([0, 0, 1, 1, 0], ["train", "test", "train", "test", "test"], [*"aabcd"])
    assert split.test.tolist() == [1, 3, 4]
    assert "1 group on both sides (a for one): 1 of the 3 held-out images" in split.warning
    assert not hold_out([0, 0, 1, 1], ["train", "test", "train", "test"], [*"abcd"]).warning
