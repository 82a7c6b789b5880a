"""Groups are never torn apart, and the classes are as even as whole groups allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.split import folds, hold_out
from zoo.errors import DataError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(10, 60), st.integers(1, 8))
def test_no_group_straddles_and_every_class_is_trained_on(seed, n_classes, n_groups, largest):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, largest + 1, n_groups)
    groups = np.repeat(np.arange(n_groups), size)
    y = np.repeat(np.arange(n_groups) % n_classes, size)  # a group shows one thing, so one class
    dealt = folds(y, 5, groups, seed)
    assert np.array_equal(np.sort(np.concatenate([rows for _, rows in dealt.pairs])), np.arange(len(y)))
    for train, rows in dealt.pairs:
        assert not set(groups[train]) & set(groups[rows])
        assert set(y[train]) == set(y)
    split = hold_out(y, groups=groups, seed=seed)
    assert not set(groups[split.train]) & set(groups[split.test])
    assert set(y[split.train]) == set(y)


def test_groups_of_one_image_are_dealt_as_evenly_as_images():
    y = np.repeat([0, 1, 2], [50, 30, 7])
    dealt = folds(y, 5, np.arange(87))
    for label in range(3):
        sizes = [int((y[rows] == label).sum()) for _, rows in dealt.pairs]
        assert max(sizes) - min(sizes) <= 1
    assert max(len(rows) for _, rows in dealt.pairs) - min(len(rows) for _, rows in dealt.pairs) <= 3


def test_few_groups_make_fewer_folds_with_one_warning():
    y = np.repeat([0, 1], 20)
    dealt = folds(y, 5, np.tile(np.arange(4), 10))
    assert dealt.n_folds == 4
    assert dealt.warning == "4 folds instead of 5, because a class has only 4 groups."


def test_a_class_in_one_group_cannot_be_cross_validated():
    y = np.repeat([0, 1], 6)
    with pytest.raises(DataError, match="one group only"):
        folds(y, 5, np.r_[np.zeros(6), 1 + np.arange(6)])


def test_few_groups_leave_the_split_as_it_is_but_for_them():
    """Else a pair of copies among a thousand images would change who is held out, and so the accuracy."""
    y = np.arange(300) % 3
    groups = np.arange(300)
    groups[[0, 3, 6]] = 0
    alone, grouped = hold_out(y, seed=1), hold_out(y, groups=groups, seed=1)
    assert set(alone.test) ^ set(grouped.test) <= {0, 3, 6}
    assert len(set(grouped.test) & {0, 3, 6}) in (0, 3)
