"""One way in: what every command starts from, for folders and tables of all kinds."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from finetune import experiment
from finetune.cli.app import main
from finetune.experiment import Request, prepare
from zoo.features.spaces import RawPixels


class Features(RawPixels):
    """Pixels in place of a network's features, which are not the point here."""

    identity = {"features": "pixels"}  # noqa: RUF012

    def __init__(self, backbone, engine, precision, log, features="last"):
        self.backbone, self.engine, self.precision = backbone, engine, precision


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr("zoo.features.spaces.BackboneSpace", Features)


@pytest.fixture
def backbone():
    return SimpleNamespace(name="pixel-features", num_features=32 * 32 * 3)


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((32, 32)).save(path)


def folder(root, n=6, classes=("a", "b"), split=""):
    for c, name in enumerate(classes):
        for i in range(n):
            save(root / split / name / f"s{i // 2}-{i}.png", [c, i, len(split)])


def table(root, header, rows):
    for i, row in enumerate(rows):
        save(root / row.split(",")[0], i)
    (root / "table.csv").write_text("\n".join([header, *rows]))
    return root / "table.csv"


def plain(root):
    folder(root)
    return {"data": root}


def given_split(root):
    folder(root, split="train")
    folder(root, 2, split="val")
    return {"data": root}


def three_splits(root):
    for name in ("training", "Validation", "TEST"):
        folder(root, 2, split=name)
    return {"data": root}


def grouped_by_name(root):
    folder(root, 12)
    return {"data": root, "group_by": r"(s\d+)-"}


def grouped_table(root):
    rows = [f"{i}.png,{'ab'[i % 2]},g{i // 4}" for i in range(24)]
    return {"data": table(root, "path,label,group", rows)}


def few_groups(root):
    rows = [f"{i}.png,{'ab'[i % 2]},g{i // 6}" for i in range(18)]
    return {"data": table(root, "path,label,group", rows)}


def split_and_groups(root):
    """The group g1 straddles the table's split."""
    rows = [f"{i}.png,{'ab'[i % 2]},{'train' if i < 15 else 'test'},g{i // 10}" for i in range(20)]
    rows += [f"x{i}.png,{'ab'[i % 2]},train,h{i // 4}" for i in range(12)]
    return {"data": table(root, "path,label,split,group", rows)}


def few_images(root):
    folder(root, 3)
    return {"data": root, "n_folds": 4}


def nested_folders(root):
    folder(root, classes=("fruit/apple", "fruit/pear", "nut/almond"))
    return {"data": root, "labels": "leaf"}


def unreadable_and_masks(root):
    folder(root)
    (root / "a" / "broken.png").write_bytes(b"not an image")
    Image.new("L", (32, 32)).save(root / "b" / "s0-0_mask.png")
    half = Image.new("L", (32, 32))
    half.paste(255, (0, 0, 16, 32))
    half.save(root / "b" / "other.png")
    return {"data": root}


def copies(root):
    """Every image of class a twice, and one of them in class b, too."""
    folder(root)
    for i in range(6):
        shutil.copy(root / "a" / f"s{i // 2}-{i}.png", root / "a" / f"again{i}.png")
    shutil.copy(root / "a" / "s0-0.png", root / "b" / "wrong.png")
    return {"data": root}


def copies_in_groups(root):
    """The copies connect patients that the table names."""
    path = table(root, "path,label,group", [f"{i}.png,{'ab'[i % 2]},g{i // 2}" for i in range(24)])
    for i in range(2):
        shutil.copy(root / f"{i}.png", root / f"{4 + i}.png")
    return {"data": path}


def copies_across_a_given_split(root):
    given_split(root)
    shutil.copy(root / "train" / "a" / "s0-0.png", root / "val" / "a" / "copy.png")
    return {"data": root}


def copies_dropped(root):
    return {**copies(root), "copies": "drop"}


def copies_ignored(root):
    return {**copies(root), "copies": "ignore"}


SETS = (
    plain, given_split, three_splits, grouped_by_name, grouped_table, few_groups, split_and_groups,
    few_images, nested_folders, unreadable_and_masks, copies, copies_in_groups, copies_across_a_given_split,
    copies_dropped, copies_ignored,
)  # fmt: skip


def made(root, make, backbone, **more):
    settings = make(root)
    request = Request(**{**settings, "data": str(settings["data"])}, models=(backbone.name,), engine="torch")
    return prepare(request, backbones=[backbone], **more)


def summary(found):
    dataset = found.dataset
    return (
        dataset.names,
        dataset.labels.tolist(),
        dataset.classes,
        None if dataset.groups is None else dataset.groups.tolist(),
        dataset.notices,
        found.digests,
        found.split.kind,
        found.split.train.tolist(),
        found.split.test.tolist(),
        [(train.tolist(), held_out.tolist()) for train, held_out in found.folds.pairs],
        found.warnings,
    )


@pytest.mark.parametrize("make", SETS)
def test_the_same_request_gives_the_same_experiment(tmp_path, make, backbone):
    """And groups straddle neither folds nor a split of ours; rows of features belong to the images."""
    first, again = made(tmp_path, make, backbone), made(tmp_path, make, backbone)
    assert summary(first) == summary(again)
    n = len(first.dataset)
    assert sorted([*first.split.train, *first.split.test]) == list(range(n))
    assert all(len(matrix) == n == len(first.digests) for matrix in first.matrices.values())
    assert set(first.dataset.labels[first.split.train]) == set(range(len(first.dataset.classes)))
    groups = first.dataset.groups
    if groups is not None:
        inside = groups[first.split.train]
        for train, held_out in first.folds.pairs:
            assert not set(inside[train]) & set(inside[held_out])
        if first.split.kind == "grouped":
            assert not set(groups[first.split.train]) & set(groups[first.split.test])


def test_what_is_particular_to_each(tmp_path, backbone):
    found = {make: made(tmp_path / make.__name__, make, backbone) for make in SETS}
    assert found[given_split].split.kind == "folders"
    assert len(found[three_splits].split.test) == 4
    assert found[split_and_groups].split.kind == "column"
    assert "1 group on both sides (g1 for one)" in found[split_and_groups].warnings[0]
    assert any("folds instead of" in warning for warning in found[few_images].warnings)
    assert any("folds instead of" in warning for warning in found[few_groups].warnings)
    assert found[nested_folders].dataset.classes == ("almond", "apple", "pear")
    kinds = [notice.kind for notice in found[unreadable_and_masks].dataset.notices]
    assert kinds[:3] == ["masks", "not readable", "masks"]
    assert len(found[unreadable_and_masks].dataset) == 12
    assert (found[copies].split.kind, len(found[copies].dataset)) == ("grouped", 19)
    assert len(np.unique(found[copies].dataset.groups)) == 12
    assert found[copies].dataset.notices[-1].kind == "label conflict"
    names = found[copies_in_groups].dataset.groups
    assert len(set(names[:2]) | set(names[4:6])) == 1
    assert len(np.unique(names)) == 11
    assert found[copies_across_a_given_split].split.kind == "folders"
    assert len(found[copies_across_a_given_split].split.test) == 5
    assert len(found[copies_dropped].dataset) == 13
    assert found[copies_ignored].split.kind == "stratified"
    assert any("--copies ignore" in warning for warning in found[copies_ignored].warnings)


def test_masks_can_be_kept_and_every_notice_is_logged(tmp_path, backbone):
    unreadable_and_masks(tmp_path)
    lines = []
    request = Request(str(tmp_path), (backbone.name,), engine="torch", keep_masks=True)
    found = prepare(request, backbones=[backbone], log=lines.append)
    assert len(found.dataset) == 14
    assert [notice.message for notice in found.dataset.notices] == lines
    assert {notice.kind for notice in found.dataset.notices} >= {"not readable", "constant", "few colours"}


def test_statistics_are_stored(tmp_path, backbone, monkeypatch):
    from finetune.data.statistics import ImageStatistics

    plain(tmp_path)
    request = Request(str(tmp_path), (backbone.name,), engine="torch")
    prepare(request, backbones=[backbone])
    monkeypatch.setattr(ImageStatistics, "prepare", None)  # would fail if it were called
    assert prepare(request, backbones=[backbone]).matrices["statistics"].shape == (12, ImageStatistics.width)


def one_image_in_a_class(root):
    folder(root)
    save(root / "c" / "only.png", 5)
    return []


def a_class_in_one_group(root):
    rows = [f"{i}.png,{'ab'[i % 2]},g{i // 2}" for i in range(20)] + [f"c{i}.png,c,only" for i in range(6)]
    return ["--data", str(table(root, "path,label,group", rows))]


def blank_groups(root):
    rows = [f"{i}.png,{'ab'[i % 2]},{'g' if i else ''}" for i in range(12)]
    return ["--data", str(table(root, "path,label,group", rows))]


def one_group(root):
    rows = [f"{i}.png,{'ab'[i % 2]},{'train' if i < 9 else 'test'},g" for i in range(12)]
    return ["--data", str(table(root, "path,label,split,group", rows))]


def other_classes_in_val(root):
    folder(root, split="train")
    folder(root, classes=("b", "c"), split="val")
    return []


def no_group_for_some(root):
    folder(root)
    return ["--group-by", r"(s2)-"]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (one_image_in_a_class, "'c' (1)"),
        (a_class_in_one_group, "of one group only"),
        (blank_groups, "no group"),
        (one_group, "All training images are in one group"),
        (other_classes_in_val, "'c'"),
        (no_group_for_some, "have no group"),
    ],
)
def test_faulty_data_end_with_exit_code_2_and_the_next_step(
    tmp_path, make, problem, backbone, monkeypatch, capsys
):
    words = make(tmp_path)
    words = words if "--data" in words else ["--data", str(tmp_path), *words]
    monkeypatch.setattr("zoo.backbone.load", lambda name, **more: backbone)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert "Traceback" not in said


def test_a_request_in_words():
    request = Request("x", ("m",), 3, "(a)", 4, True, "torch", "fp32", "leaf", True, "drop")
    words = "--data x --model m --seed 3 --group-by (a) --folds 4 --strict --labels leaf --keep-masks"
    words += " --copies drop"
    assert request.words() == [*words.split(), "--engine", "torch"]


class Prepared(Exception):
    """Raised in place of the work, with what was requested."""


@pytest.mark.parametrize("command", ["train", "search", "compare", "check"])
def test_every_command_starts_from_the_same_request(tmp_path, command, backbone, monkeypatch):
    """That of its flags: nothing is lost on the way."""
    plain(tmp_path)

    def stop(request, **more):
        raise Prepared(request)

    original = experiment.prepare
    for module in list(sys.modules.values()):
        if getattr(module, "prepare", None) is original:
            monkeypatch.setattr(module, "prepare", stop)
    monkeypatch.chdir(tmp_path)
    words = [
        command, "--data", str(tmp_path), "--model", backbone.name, "--seed", "3", "--folds", "4",
        "--group-by", r"(s\d)-", "--strict", "--engine", "torch", "--labels", "path", "--keep-masks",
        "--copies", "drop",
    ]  # fmt: skip
    monkeypatch.setattr("zoo.backbone.load", lambda name, **more: backbone)
    with pytest.raises(Prepared) as raised:
        main(words)
    request = raised.value.args[0]
    assert request == Request(
        str(tmp_path), request.models, 3, r"(s\d)-", 4, True, "torch", "fp32", "path", True, "drop"
    )
