"""Folders of images: what is taken, what is left out, what is said of faulty ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data.dataset import fingerprint
from finetune.data.read import check_counts, read
from zoo.errors import DataError
from zoo.images.scan import natural_key, scan

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def lay(root, *names):
    """Make files (or, with a slash at the end, folders)."""
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            Image.new("RGB", (4, 4)).save(path, "PNG")
    return root


def classes(root, *names, n=3):
    return lay(root, *[f"{name}/{i}.png" for name in names for i in range(n)])


def test_first_level_folders_are_classes(tmp_path):
    root = classes(tmp_path, "cat", "dog")
    lay(root, "cat/tuesday/deep/x.png", "readme.txt")
    found = read(root)
    assert found.classes == ("cat", "dog")
    assert found.counts == {"cat": 4, "dog": 3}
    assert found.splits is None
    assert found.ignored == 1
    assert "cat/tuesday/deep/x.png" in found.names


def test_classes_are_in_natural_order(tmp_path):
    assert read(classes(tmp_path, "10", "2", "1")).classes == ("1", "2", "10")
    assert sorted(["b10", "a", "b9", "B1"], key=natural_key)[0] == "a"


def test_same_leaf_names_do_not_merge(tmp_path):
    lay(tmp_path, *[f"{a}/x/{i}.png" for a in ("left", "right") for i in range(3)])
    assert read(tmp_path).classes == ("left", "right")


def test_hidden_things_and_litter_are_ignored(tmp_path):
    classes(tmp_path, "cat", "dog")
    lay(
        tmp_path,
        ".git/x.png",
        "cat/.DS_Store",
        "cat/.ipynb_checkpoints/0.png",
        "__MACOSX/cat/0.png",
        "dog/Thumbs.db",
    )
    found = read(tmp_path)
    assert found.counts == {"cat": 3, "dog": 3}
    assert found.ignored >= 5


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("train", "val"),
        ("train", "valid"),
        ("Training", "Validation"),
        ("TRAIN", "dev"),
        ("training", "testing"),
        ("train", "Test"),
        ("trn", "hold-out"),
    ],
)
def test_split_folders(tmp_path, train, held_out):
    classes(tmp_path / train, "cat", "dog")
    classes(tmp_path / held_out, "dog", n=2)
    found = read(tmp_path)
    assert found.classes == ("cat", "dog")
    assert (found.splits == "test").sum() == 2
    assert set(found.labels[found.splits == "test"]) == {1}  # aligned by name
    assert found.splits_from == "folders"


def test_with_test_there_val_joins_the_training_split(tmp_path):
    for part, n in (("train", 3), ("val", 2), ("test", 1)):
        classes(tmp_path / part, "cat", "dog", n=n)
    found = read(tmp_path)
    assert (found.splits == "train").sum() == 10
    assert (found.splits == "test").sum() == 2


def test_train_alone_is_a_plain_folder(tmp_path):
    classes(tmp_path / "train", "cat", "dog")
    found = read(tmp_path)
    assert found.classes == ("cat", "dog")
    assert found.splits is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "empty"),
        (["a.png", "b.png"], "no class folders"),
        (["cat/0.png", "cat/1.png", "cat/2.png"], "only one class"),
        ([f"cat/{i}.png" for i in range(5)] + ["dog/0.png", "dog/1.png"], "'dog' (2)"),
        (
            ["train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "train/dog/1.png", "val/Dogs/0.png"],
            "'Dogs' (is it train's 'dog'?)",
        ),
        (["train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "val/dog/0.png"], "'dog' (1)"),
        (["val/cat/0.png", "val/dog/0.png"], "no train/"),
    ],
)
def test_faulty_folders(tmp_path, names, words):
    with pytest.raises(DataError) as raised:
        read(lay(tmp_path, *names))
    assert words in str(raised.value)
    assert raised.value.next_step


def test_missing_path_suggests_a_neighbour(tmp_path):
    classes(tmp_path / "photos", "cat", "dog")
    with pytest.raises(DataError, match="photos"):
        read(tmp_path / "photo")


@pytest.mark.parametrize("path", ["a" * 300, "~nobody-of-that-name/photos"])
def test_impossible_paths(path):
    with pytest.raises(DataError, match="Check the path"):
        read(path)


def test_a_folder_around_the_class_folders_is_pointed_out(tmp_path):
    classes(tmp_path / "photos", "cats", "dogs")
    with pytest.raises(DataError, match=r"If the folders in .*photos are the classes, give that folder"):
        read(tmp_path)
    assert read(tmp_path / "photos").classes == ("cats", "dogs")


def test_links_are_followed_but_never_in_circles(tmp_path):
    root = classes(tmp_path / "root", "cat", "dog")
    classes(tmp_path / "elsewhere", "bird")
    os.symlink(tmp_path / "elsewhere" / "bird", root / "bird")
    os.symlink(root, root / "cat" / "loop")
    found = read(root)
    assert found.classes == ("bird", "cat", "dog")
    assert found.counts["bird"] == 3
    assert len(scan(root).files) < 100


def test_dropping_unreadable_images(tmp_path):
    found = read(classes(tmp_path, "cat", "dog", n=4))
    rest = found.drop([0, 7], ["empty file", "truncated"])
    assert len(rest) == 6
    assert [(s.path.name, s.reason) for s in rest.skipped] == [
        ("0.png", "empty file"),
        ("3.png", "truncated"),
    ]
    assert rest.classes == found.classes
    check_counts(rest)
    with pytest.raises(DataError, match="cat"):
        check_counts(found.drop([0, 1], ["bad", "bad"]))
    with pytest.raises(DataError, match="bad"):
        check_counts(found.drop(range(8), ["bad"] * 8))


def test_fingerprint_knows_content_not_place(tmp_path):
    digests = [f"{i:064x}" for i in range(6)]
    one = read(classes(tmp_path / "one", "cat", "dog"))
    two = read(classes(tmp_path / "two", "cat", "dog"))
    assert fingerprint(one, digests) == fingerprint(two, digests)
    order = np.array([2, 1, 0, 5, 4, 3])
    assert fingerprint(one.subset(order), [digests[i] for i in order]) == fingerprint(one, digests)
    assert fingerprint(one, digests[::-1]) != fingerprint(one, digests)  # other labels


def kinds(dataset):
    return {notice.kind: notice for notice in dataset.notices}


def test_files_and_folders_that_are_not_used_are_noted(tmp_path):
    classes(tmp_path / "train", "cat", "dog")
    classes(tmp_path / "val", "cat")
    lay(tmp_path, "montage.jpg", "train/README.md", "train/.hidden", "train/bird/", "masks/0.png")
    found = kinds(read(tmp_path))
    assert set(found["ignored files"].examples) == {"montage.jpg", "train/README.md"}
    assert found["ignored files"].message.startswith("2 files lie beside the class folders and are ignored (")
    assert found["empty folders"].examples == ("train/bird",)
    assert found["unused folders"].examples == ("masks/",)
    assert found["missing classes"].examples == ("dog",)


@pytest.mark.parametrize(
    ("labels", "expected", "kind"),
    [
        ("top", ("fruit", "nut"), "nested folders"),
        ("leaf", ("almond", "apple", "nut", "other"), "merged folders"),
        ("path", ("fruit/apple", "fruit/other", "nut", "nut/almond", "nut/other"), None),
    ],
)
def test_which_folder_is_the_class(tmp_path, labels, expected, kind):
    classes(tmp_path, "fruit/apple", "fruit/other", "nut/almond", "nut/other", "nut")
    found = read(tmp_path, labels)
    assert found.classes == expected
    assert len(found) == 15
    assert [notice.kind for notice in found.notices] == ([kind] if kind else [])
    if labels == "top":
        message = found.notices[0].message
        assert message.startswith("2 class folders hold 4 folders with images (fruit/apple, fruit/other, …).")
        assert "--labels leaf" in message
        assert found.notices[0].count == 4


def test_leaf_classes_of_splits_are_aligned_by_name(tmp_path):
    for split, n in (("train", 3), ("test", 1)):
        classes(tmp_path / split, "fruit/apple", "nut/almond", n=n)
    found = read(tmp_path, "leaf")
    assert found.classes == ("almond", "apple")
    assert found.labels[found.splits == "test"].tolist() == [0, 1]
    assert [path.parent.name for path in found.paths[-2:]] == ["almond", "apple"]


def test_class_names_that_are_written_differently_are_matched(tmp_path):
    composed, decomposed = "Cr\u00e8me", "Cre\u0300me"
    classes(tmp_path / "train", composed, "two words", "dog")
    classes(tmp_path / "test", decomposed.lower(), " two  words", "dog", n=1)
    found = read(tmp_path)
    assert found.classes == (composed, "dog", "two words")
    assert sorted(found.labels[found.splits == "test"].tolist()) == [0, 1, 2]
    assert kinds(found)["class names"].count == 2


def test_val_that_joins_training_takes_its_spelling(tmp_path):
    for split, name in (("Val", "DOG"), ("train", "dog"), ("test", "Dog")):
        classes(tmp_path / split, "cat", name, n=2)
    found = read(tmp_path)
    assert found.classes == ("cat", "dog")
    assert found.counts == {"cat": 6, "dog": 6}


def test_names_that_could_mean_two_classes_are_not_guessed(tmp_path):
    classes(tmp_path / "train", "dog", "Dog")
    classes(tmp_path / "val", "DOG")
    with pytest.raises(DataError, match="'DOG'"):
        read(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the example photographs are not here")
def test_real_folders():
    found = read(SHARED / "ants-bees")
    assert len(found) == 398
    assert {"formica.jpeg", "imageNotFound.gif"} <= {path.name for path in found.paths}
    assert found.counts == {"ants": 194, "bees": 204}
    signs = read(SHARED / "sign-digits")
    assert len(signs) == 2062
    assert signs.classes == tuple("0123456789")
