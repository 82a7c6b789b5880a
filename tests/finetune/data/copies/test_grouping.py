"""Copies kept together, dropped or ignored: on pairs that are given, without images."""

from pathlib import Path

import numpy as np
import pytest

from finetune.data.copies import Copies, Pair
from finetune.data.copies.copies import Components
from finetune.data.copies.grouping import apply_copies
from finetune.data.dataset import Dataset


def dataset(labels, splits=None, groups=None):
    names = [f"{i}.png" for i in range(len(labels))]
    return Dataset(
        root="photos",
        paths=tuple(Path("photos", name) for name in names),
        labels=np.array(labels),
        classes=("ant", "bee"),
        splits=None if splits is None else np.array(splits),
        groups=None if groups is None else np.array(groups),
    )


def copies(n, *pairs):
    """Make the groups that some pairs connect, each ``(a, b)`` or ``(a, b, kind)``."""
    made = [Pair(a, b, *(kind or ["scene"]), 1.0) for a, b, *kind in pairs]
    connected = Components(n)
    for pair in made:
        connected.connect(pair.a, pair.b)
    return Copies(tuple(made), connected.labels())


def same(groups):
    """Write groups as numbers in the order of their first image: names do not matter."""
    seen = {}
    return [seen.setdefault(group, len(seen)) for group in groups]


ALTERNATING = [0, 1] * 6


def test_group_keeps_all_images_and_puts_copies_together():
    found = apply_copies(dataset(ALTERNATING), copies(12, (0, 4), (4, 6), (1, 3)), "group")
    assert len(found.dataset) == 12
    assert same(found.dataset.groups) == [0, 1, 2, 1, 0, 3, 0, 4, 5, 6, 7, 8]
    assert found.warnings == []
    notice = found.dataset.notices[-1]
    assert (notice.kind, notice.count) == ("copies", 5)
    assert notice.examples == ("0.png", "4.png", "6.png", "1.png", "3.png")  # the largest group first
    assert "in 2 groups" in notice.message
    assert "kept together" in notice.message


@pytest.mark.parametrize("mode", ["group", "drop", "ignore"])
def test_without_copies_nothing_changes(mode):
    found = apply_copies(dataset(ALTERNATING), copies(12), mode)
    assert found.dataset.groups is None
    assert (found.dataset.notices, found.warnings, len(found.kept)) == ((), [], 12)


def test_ignore_leaves_the_data_alone_and_warns():
    found = apply_copies(dataset(ALTERNATING), copies(12, (0, 4), (1, 3, "bytes")), "ignore")
    assert found.dataset.groups is None
    assert len(found.dataset) == 12
    [warning] = found.warnings
    assert "4 images have copies" in warning
    assert "--copies ignore" in warning
    assert "kept together" not in found.dataset.notices[-1].message


def test_drop_keeps_one_of_equal_images_and_groups_the_rest():
    """0, 2 and 4 are equal; 6 shows the scene of 4, which goes; 1 and 3 are one scene, which is no copy."""
    pairs = copies(12, (0, 2, "bytes"), (2, 4, "pixels"), (4, 6), (1, 3))
    found = apply_copies(dataset(ALTERNATING), pairs, "drop")
    assert found.kept.tolist() == [0, 1, 3, 5, 6, 7, 8, 9, 10, 11]
    assert same(found.dataset.groups) == [0, 1, 1, 2, 0, 3, 4, 5, 6, 7]
    assert found.copies.n_groups == 2
    assert len(found.copies.pairs) == 2  # enough to connect what is left
    dropped = found.dataset.notices[0]
    assert (dropped.kind, dropped.examples) == ("dropped copies", ("2.png", "4.png"))


def test_drop_keeps_equal_images_with_different_labels_and_lists_them():
    found = apply_copies(dataset(ALTERNATING), copies(12, (0, 1, "bytes"), (2, 4, "bytes")), "drop")
    assert found.kept.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [(pair.a, pair.b) for pair in found.conflicts] == [(0, 1)]
    conflict = found.dataset.notices[-1]
    assert (conflict.kind, conflict.count, conflict.examples) == ("label conflict", 1, ("0.png = 1.png",))
    assert "one label is wrong" in conflict.message


def test_drop_keeps_the_training_image_of_data_that_bring_their_split():
    splits = ["test"] * 4 + ["train"] * 8
    found = apply_copies(dataset(ALTERNATING, splits), copies(12, (0, 4, "bytes"), (1, 3, "bytes")), "drop")
    assert found.kept.tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_label_conflicts_of_one_scene_are_for_a_person_to_judge():
    found = apply_copies(dataset(ALTERNATING), copies(12, (0, 1), (2, 4)), "group")
    assert [(pair.a, pair.b) for pair in found.conflicts] == [(0, 1)]
    assert "Check their labels." in found.dataset.notices[-1].message


def test_groups_of_the_data_are_joined_with_those_of_copies():
    """Copies 0 = 4 connect the patients p and q; r, and who has no copy, stay as they are."""
    patients = ["p", "p", "r", "r", "q", "q", "s", "s", "t", "t", "u", "u"]
    found = apply_copies(dataset(ALTERNATING, groups=patients), copies(12, (0, 4)), "group")
    assert found.dataset.groups.tolist() == ["p", "p", "r", "r", "p", "p", *patients[6:]]
    ignored = apply_copies(dataset(ALTERNATING, groups=patients), copies(12, (0, 4)), "ignore")
    assert ignored.dataset.groups.tolist() == patients


def test_a_class_that_is_one_lump_is_said_and_stays_usable():
    lump = [(i, i + 2) for i in range(0, 10, 2)]
    found = apply_copies(dataset(ALTERNATING), copies(12, *lump, (1, 3)), "group")
    groups = same(found.dataset.groups)
    assert len({groups[i] for i in range(0, 12, 2)}) == 6  # every ant stands alone
    assert groups[1] == groups[3]  # the bees' groups are as found
    [warning] = found.warnings
    assert "6 images of 'ant' show only 1 thing" in warning
    assert "add images" in warning


def test_few_images_are_no_lump():
    """Two images that are no copies of one another are for another message."""
    found = apply_copies(dataset([0, 0, 1, 1, 1, 1, 1]), copies(7, (2, 3)), "group")
    assert found.warnings == []


def test_data_that_bring_their_split_keep_their_lumps():
    """Nothing is split there, so that nothing can go wrong; the accuracy without copies says the rest."""
    lump = [(i, i + 2) for i in range(0, 10, 2)]
    found = apply_copies(dataset(ALTERNATING, ["train"] * 8 + ["test"] * 4), copies(12, *lump), "group")
    assert found.warnings == []
    assert len(set(found.dataset.groups[::2])) == 1
