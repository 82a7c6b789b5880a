"""Nested choices never see the fold that they are made for."""

import numpy as np
import pytest

from finetune.data.plan import nested, plain
from finetune.data.split import folds


def labels(n=60, c=3):
    return np.arange(n) % c


@pytest.mark.parametrize("n_folds", [2, 3, 4, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_choice_sees_nothing_of_its_outer_fold(n_folds, grouped):
    y = labels()
    groups = np.arange(60) // 3 if grouped else None
    outer = folds(y, n_folds, groups, repeats=2)
    plans = list(nested(y, outer, groups))
    assert len(plans) == 2
    assert [rows.tolist() for plan in plans for _, rows in plan.outer] == [r.tolist() for _, r in outer.pairs]
    for plan in plans:
        for (train, held_out), choice in zip(plan.outer, plan.choices, strict=True):
            for part, judged in choice:
                seen = plan.trains[part]
                assert not set(seen) & set(held_out)
                assert not set(judged) & set(held_out)
                assert not set(seen) & set(judged)
                if grouped:
                    assert not set(groups[seen]) & set(groups[judged])
            everything = np.concatenate([rows for _, rows in choice])
            assert sorted(everything) == sorted(train)  # each image judges once


def test_nesting_in_five_folds_needs_ten_training_parts():
    (plan,) = nested(labels(), folds(labels(), 5))
    assert len(plan.trains) == 10


def test_plain_is_one_choice():
    given = folds(labels(), 4)
    plan = plain(given)
    assert len(plan.choices) == 1
    assert plan.order(0).tolist() == np.concatenate([rows for _, rows in given.pairs]).tolist()


def test_two_images_a_class_are_enough():
    y = np.array([0, 0, 1, 1])
    (plan,) = nested(y, folds(y, 5))
    assert all(len(part) for part in plan.trains)
