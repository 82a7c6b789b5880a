"""The cache folder: its limit, what goes first, what stays, and clearing it."""

import hashlib
import json
import os
import sys
import time

import numpy as np
import pytest

import zoo.features.store
from zoo.cache.folders import CacheError, cache_folder, cache_root
from zoo.cache.inventory import KINDS, inventory, keep_within_limit, size_limit
from zoo.cli.app import main
from zoo.features.store import FeatureStore


def filled(name, size=10_000, age=0.0, kind="features", file="rows.bin", about=None):
    """Make an item of the cache, last used `age` seconds ago."""
    folder = cache_folder(kind) / hashlib.sha256(name.encode()).hexdigest()[:24]
    folder.mkdir()
    (folder / file).write_bytes(b"x" * size)
    if about is not None:
        (folder / "about.json").write_text(json.dumps(about))
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def run(capsys, *arguments):
    code = main(["cache", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# The limit


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("500MB", 500 * 10**6),
        ("1.5 gib", 3 * 2**29),
        ("7kB", 7000),
        (" 2 TB ", 2 * 10**12),
    ],
)
def test_sizes(text, size, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", text)
    assert size_limit() == size


@pytest.mark.parametrize("text", ["0", "none", "None"])
def test_no_limit(text, monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", text)
    filled("old", age=10**6)
    assert size_limit(inventory()) is None
    assert keep_within_limit() == []


@pytest.mark.parametrize("text", ["20", "many", "GB", "-1GB", "1 GB of it", "1e3MB"])
def test_a_limit_that_is_no_size_is_reported_before_anything_is_computed(text, monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", text)
    with pytest.raises(CacheError, match=r"ZOO_CACHE_LIMIT is .* such as 20GB"):
        size_limit()
    with pytest.raises(CacheError):
        FeatureStore({"model": "m"}, 3)


def test_the_limit_by_default_is_20_gb_and_half_of_a_small_disk(monkeypatch, empty_cache):
    filled("some", size=10**6)
    usage = type("Usage", (), {"free": 10**12})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert size_limit(inventory()) == 20 * 10**9
    usage.free = 3 * 10**6
    assert size_limit(inventory()) == 2 * 10**6


# What goes first


def test_the_least_recently_used_goes_first(monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "35kB")
    ages = {"b": 300, "d": 100, "a": 400, "c": 200}
    folders = {name: filled(name, age=age) for name, age in ages.items()}
    assert keep_within_limit() == [folders["a"]]
    filled("e")
    filled("f", kind="graphs", file="graph.bin")
    assert keep_within_limit() == [folders["b"], folders["c"]]
    assert folders["d"].is_dir()


def test_weights_and_pictures_stay(monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "1kB")
    weights = cache_folder("models") / "net.in1k-0123456789abcdef"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"x" * 10**5)
    pictures = cache_folder("demo") / "openmoji-17.0.0-2"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(b"x" * 10**5)
    own = filled("mine", about={"architecture": "net"})
    assert keep_within_limit(protect=[own]) == []
    assert keep_within_limit() == [own]
    assert weights.is_dir()
    assert len(inventory()) == 2


def test_using_a_store_makes_it_the_last_to_go(monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "none")
    for name in ("a", "b"):
        store = FeatureStore({"model": name}, 50)
        store.add([hashlib.sha256(b"1").hexdigest()], np.ones((1, 50), np.float32))
        os.utime(store.folder, (0, 0))
    used = FeatureStore({"model": "a"}, 50).folder
    other = store.folder
    del store
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "0.4kB")
    assert keep_within_limit() == [other]
    assert used.is_dir()


def test_adding_features_keeps_the_limit(monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "100kB")
    old, older = filled("old", 60_000, age=100), filled("older", 60_000, age=200)
    looks = []
    monkeypatch.setattr(
        zoo.features.store, "keep_within_limit", lambda protect: looks.append(keep_within_limit(protect))
    )
    store = FeatureStore({"model": "m"}, 1000)
    for i in range(100):
        store.add([hashlib.sha256(b"%d" % i).hexdigest()], np.ones((1, 1000), np.float32))
    assert looks == [[older]]  # One look for 64 MiB, not one a batch.
    assert old.is_dir()
    assert not store.missing([hashlib.sha256(b"%d" % i).hexdigest() for i in range(100)])


# Clearing


def test_clear_removes_what_was_selected(empty_cache, capsys):
    net = filled("a", about={"architecture": "net_one", "precision": "fp32"}, age=100_000)
    other = filled("b", about={"architecture": "other"}, age=100_000)
    graph = filled("c", kind="graphs")
    weights = cache_folder("models") / "net_one.in1k-0123456789abcdef"
    weights.mkdir()
    assert run(capsys, "clear", "features", "--older-than", "2", "--yes")[0] == 0
    assert net.is_dir()
    assert run(capsys, "clear", "--model", "NET_ONE", "--yes")[1].endswith("10.0 kB freed.\n")
    assert [path.is_dir() for path in (net, other, graph, weights)] == [False, True, True, True]
    run(capsys, "clear", "features", "--older-than", "1", "--yes")
    assert not other.exists()
    run(capsys, "clear", "--yes")
    assert not graph.exists()
    assert weights.is_dir()
    run(capsys, "clear", "models", "--yes")
    assert not weights.exists()
    assert run(capsys, "clear", "--yes")[1:] == ("", "There is nothing to remove.\n")


def test_clear_asks(empty_cache, capsys, monkeypatch):
    folder = filled("a")
    code, _, err = run(capsys, "clear")
    assert (code, err) == (
        2,
        "zoo: Removing needs a confirmation, and there is no terminal to ask.\nUse --yes.\n",
    )
    for answer, gone in (("\n", False), ("no\n", False), ("y\n", True)):
        terminal = type("Terminal", (), {"isatty": lambda self: True, "readline": lambda self, a=answer: a})
        monkeypatch.setattr(sys, "stdin", terminal())
        assert run(capsys, "clear")[0] == 0
        assert folder.exists() != gone


@pytest.mark.parametrize(
    "arguments", [["clear", "nonsense"], ["clear", "--older-than", "-1"], ["clear", "..", "--yes"]]
)
def test_what_a_user_can_fix(arguments, empty_cache, capsys):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def everything_old(folder):
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)


def test_a_users_files_in_the_chosen_folder_stay(empty_cache, monkeypatch, capsys):
    """ZOO_CACHE may name a folder that holds other things, in folders that bear the names of ours."""
    theirs = ["demo/.git/HEAD", "models/poetry.lock", ".secret", "features/.venv/python", "graphs/notes.tmp"]
    theirs += ["features/" + "0" * 24 + "/rows.bin", "photos/about.json", "photos/day/about.json"]
    for name in theirs:
        (empty_cache / name).parent.mkdir(parents=True, exist_ok=True)
        (empty_cache / name).write_text("x" * 10_000)
    own = filled("own")
    everything_old(empty_cache)
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "1kB")
    assert keep_within_limit() == [own]
    assert run(capsys, "clear", *KINDS, "--yes")[0] == 0
    assert [name for name in theirs if not (empty_cache / name).exists()] == []


def test_only_generated_names_below_our_mark_are_removed(empty_cache, tmp_path, capsys, monkeypatch):
    outside, digest = tmp_path / "outside", "0" * 24
    (outside / digest).mkdir(parents=True)
    (outside / digest / "precious").write_text("x")
    inside = filled("a")
    (inside / "link").symlink_to(outside)
    root = inside.parents[1]
    for name in ("models/mine", "demo/notes.txt", "features/poetry.lock", "features/.git"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).mkdir()
        (root / name / "precious").write_text("x")
    (root / "features" / digest).symlink_to(outside / digest)
    (root / "graphs").symlink_to(outside)
    everything_old(root)
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "1kB")
    assert run(capsys, "clear", *KINDS, "--yes")[0] == 0
    assert not inside.exists()
    assert len(list(tmp_path.rglob("precious"))) == 5


def test_a_folder_without_our_mark_is_neither_used_nor_cleared(empty_cache, capsys):
    root = filled("a").parents[1]
    (root / "CACHEDIR.TAG").write_text("Signature: another program's")
    everything_old(root)
    with pytest.raises(CacheError, match=r"was not made by this program.*set ZOO_CACHE"):
        cache_folder("features")
    assert inventory() == []
    assert run(capsys, "clear", *KINDS, "--yes")[2] == "There is nothing to remove.\n"


def test_what_killed_processes_left_behind_goes_after_a_day(empty_cache):
    graphs, digest = cache_folder("graphs"), "a" * 24
    old, new = graphs / f".{digest}.1-0123abcd.tmp", graphs / f".{digest}.2-0123abcd.tmp"
    lock, recent = graphs / f"{digest}.lock", graphs / f".{digest}.3-0123abcd.tmp"
    for folder in (old, new, recent):
        folder.mkdir()
    (old / "graph.bin").touch()
    lock.touch()
    for path in (old / "graph.bin", old, lock):
        os.utime(path, (time.time() - 90_000,) * 2)
    (recent / "graph.bin").touch()  # An old folder in which something is being written.
    os.utime(recent, (0, 0))
    keep_within_limit()
    assert sorted(graphs.iterdir()) == sorted([new, recent])


# Info


def test_info(empty_cache, capsys, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "3MB")
    layers = {"architecture": "net", "precision": "bf16", "layers": ["blocks.4", "features"]}
    for place in ("a", "b"):
        folder = filled(place, about=layers)
        (folder / "digests.bin").write_bytes(b"x" * 32 * 3)
    filled("c", kind="graphs", file="graph.bin", about={"architecture": "net"}, size=500)
    code, out, _ = run(capsys, "info", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["folder"], found["limit"]) == (str(cache_root()), 3_000_000)
    graphs, features = found["kept"]
    assert [features[key] for key in ("kind", "network", "precision", "layers", "images", "items")] == [
        "features", "net", "bf16", "blocks.4, features", 6, 2
    ]  # fmt: skip
    assert (graphs["kind"], graphs["bytes"]) == ("graphs", 523)
    assert found["within_limit"] == found["bytes"] == features["bytes"] + 523
    _, out, _ = run(capsys, "info")
    assert "blocks.4, features" in out
    assert "20.9 kB of at most 3.0 MB" in " ".join(out.split())


def test_info_of_nothing(empty_cache, capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert "0 B" in out
