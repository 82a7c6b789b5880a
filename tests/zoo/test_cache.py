"""The cache folder: its limit, what goes first, what stays, and clearing it."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image
from zoo.cache.eviction import asked_limit, bytes_of, keep_within_limit, limit_of

import zoo.features.store
from zoo.cache.folders import CacheError, cache_folder
from zoo.cache.inventory import inventory, leftovers
from zoo.cache.lease import Hold, remove_unused
from zoo.cli.app import main
from zoo.features.store import FeatureStore

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"


def filled(name, size=10_000, age=0.0, kind="features", file="rows.bin", about=None):
    """Make an item of the cache, last used `age` seconds ago."""
    folder = cache_folder(kind, hashlib.sha256(name.encode()).hexdigest()[:24])
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
def test_sizes(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["0", "none", "None"])
def test_no_limit(text, monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", text)
    filled("old", age=10**6)
    assert limit_of(inventory()) is None
    assert keep_within_limit() == []


@pytest.mark.parametrize("text", ["20", "many", "GB", "-1GB", "1 GB of it", "1e3MB"])
def test_a_limit_that_is_no_size_is_said_before_anything_is_computed(text, monkeypatch, empty_cache):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", text)
    with pytest.raises(CacheError, match=r"ZOO_CACHE_LIMIT is .* such as 20GB"):
        asked_limit()
    with pytest.raises(CacheError):
        FeatureStore({"model": "m"}, 3)


def test_the_limit_by_default_is_20_gb_and_half_of_a_small_disk(monkeypatch, empty_cache):
    filled("some", size=10**6)
    usage = type("Usage", (), {"free": 10**12})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert limit_of(inventory()) == 20 * 10**9
    usage.free = 3 * 10**6
    assert limit_of(inventory()) == 2 * 10**6


# What goes first


def test_what_was_longest_of_no_use_goes_first(monkeypatch, empty_cache):
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
    weights = cache_folder("models", "net.in1k-0123456789abcdef")
    (weights / "model.safetensors").write_bytes(b"x" * 10**5)
    (cache_folder("demo", "openmoji-17.0.0-2") / "a.png").write_bytes(b"x" * 10**5)
    own = filled("mine", kind="activations", about={"architecture": "net"})
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


# What is in use


HOLDING = """
import sys
from zoo.features.store import FeatureStore
store = FeatureStore({"model": "held"}, 50)
print(store.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(empty_cache):
    """Another process with an open store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.folder = Path(process.stdout.readline().strip())
    os.utime(process.folder, (0, 0))
    yield process
    process.kill()
    process.communicate()


def test_what_another_process_uses_stays_until_it_is_killed(holder, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "0.001kB")
    assert keep_within_limit() == []
    code, out, err = run(capsys, "clear", "--yes")
    assert (code, out.splitlines()[-1]) == (0, "0 B freed.")
    assert "in use by a running process" in err
    assert (holder.folder / "about.json").exists()
    holder.kill()
    holder.wait()
    assert keep_within_limit() == [holder.folder]
    assert list(holder.folder.parent.iterdir()) == []


def test_ones_own_open_store_stays_until_it_is_closed(empty_cache):
    store = FeatureStore({"model": "m"}, 3)
    folder = store.folder
    assert not remove_unused(folder)
    del store
    assert remove_unused(folder)
    assert not folder.exists()


def test_a_folder_removed_while_it_is_opened_is_made_anew(empty_cache):
    code = """
import sys
from pathlib import Path
from zoo.cache.lease import Hold, remove_unused
folder = Path(sys.argv[1])
for _ in range(1000):
    {}
"""
    opening = "held = Hold(folder, create=True); (folder / 'file').write_text('x'); del held"
    folder = empty_cache / "features" / "contested"
    bodies = [opening, opening, "remove_unused(folder)"]
    processes = [subprocess.Popen([sys.executable, "-c", code.format(body), folder]) for body in bodies]
    assert [process.wait() for process in processes] == [0, 0, 0]
    remove_unused(folder)
    assert [path for path in folder.parent.iterdir() if path != folder] == []


def test_holding_what_is_not_there(empty_cache):
    with pytest.raises(FileNotFoundError):
        Hold(empty_cache / "nothing")
    assert not empty_cache.exists()


def test_without_locks_what_was_used_within_a_day_stays(empty_cache, monkeypatch):
    monkeypatch.setattr("zoo.cache.lease.fcntl", None)
    new, old = filled("new", age=3600), filled("old", age=25 * 3600)
    assert not remove_unused(new)
    assert remove_unused(old)
    Hold(new)


def test_clearing_while_features_are_extracted(empty_cache, tmp_path):
    whole = Image.open(SAMPLES / "china.jpg")
    paths = []
    for i in range(64):
        paths.append(str(tmp_path / f"{i}.png"))
        whole.crop((i, i, i + 64, i + 64)).save(paths[-1])
    code = f"""
import hashlib, zoo
X = zoo.extract("efficientnet_lite0", {paths!r}).X
print(hashlib.sha256(X.tobytes()).hexdigest())
"""

    def extracting():
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    process = extracting()
    times = 0
    while process.poll() is None:
        assert main(["cache", "clear", "--yes"]) == 0
        times += 1
        time.sleep(0.02)
    disturbed = process.communicate()[0]
    assert process.returncode == 0
    assert times > 10
    assert disturbed == extracting().communicate()[0] != ""


# Clearing


def test_clear_removes_what_was_asked_for(empty_cache, capsys):
    net = filled("a", about={"architecture": "net_one", "precision": "fp32"}, age=100_000)
    other = filled("b", about={"architecture": "other"}, age=100_000)
    graph = filled("c", kind="graphs")
    weights = cache_folder("models", "net_one.in1k-0123456789abcdef")
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
    assert (code, err) == (2, "zoo: There is nobody to ask whether to remove all this.\nSay --yes.\n")
    for answer, gone in (("\n", False), ("no\n", False), ("y\n", True)):
        terminal = type("Terminal", (), {"isatty": lambda self: True, "readline": lambda self, a=answer: a})
        monkeypatch.setattr(sys, "stdin", terminal())
        assert run(capsys, "clear")[0] == 0
        assert folder.exists() != gone


@pytest.mark.parametrize(
    "arguments", [["clear", "nonsense"], ["clear", "--older-than", "-1"], ["clear", "..", "--yes"]]
)
def test_what_a_user_can_mend(arguments, empty_cache, capsys):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_nothing_else_is_ever_removed(empty_cache, tmp_path, capsys):
    """A cache folder with other things in it, and with links out of it."""
    outside = tmp_path / "outside"
    digest = "0" * 24
    for folder in (outside / digest, empty_cache / "models" / "mine", empty_cache / "photos" / "day"):
        folder.mkdir(parents=True)
        (folder / "precious").write_text("x")
    (empty_cache / "demo").mkdir()
    (empty_cache / "demo" / "notes.txt").write_text("x")
    (empty_cache / "features").mkdir()
    (empty_cache / "features" / digest).symlink_to(outside / digest)
    (empty_cache / "graphs").symlink_to(outside)
    inside = filled("a")
    (inside / "link").symlink_to(outside)
    names = ("models", "features", "graphs", "demo", "notes")
    assert run(capsys, "clear", *names, "--yes")[0] == 0
    assert not inside.exists()
    assert len(list(tmp_path.rglob("precious"))) == 3
    assert (empty_cache / "demo" / "notes.txt").exists()


def test_what_killed_processes_left_behind_goes_after_a_day(empty_cache):
    old, new = cache_folder("graphs", "a.1.tmp"), cache_folder("graphs", "b.2.tmp")
    lock, hidden = empty_cache / "graphs" / "c.lock", cache_folder("models", ".net-1234")
    (old / "graph.bin").touch()
    lock.touch()
    for path in (old / "graph.bin", old, lock, hidden):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert sorted(leftovers()) == sorted([old, lock, hidden])
    keep_within_limit()
    assert not any(path.exists() for path in (old, lock, hidden))
    assert new.is_dir()
    recent = cache_folder("graphs", "d.3.tmp")
    (recent / "graph.bin").touch()  # An old folder in which something is being written.
    os.utime(recent, (0, 0))
    assert leftovers() == []


# Info


def test_info(empty_cache, capsys, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE_LIMIT", "3MB")
    layers = {"architecture": "net", "precision": "bf16", "layers": ["blocks.4", "features"]}
    for place in ("a", "b"):
        folder = filled(place, about=layers)
        (folder / "digests.bin").write_bytes(b"x" * 32 * 3)
    filled("c", kind="activations", file="x.npy", about={"architecture": "net"}, size=500)
    code, out, _ = run(capsys, "info", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["folder"], found["limit"]) == (str(empty_cache), 3_000_000)
    features, activations = found["kept"]
    assert [features[key] for key in ("kind", "network", "precision", "layers", "images", "items")] == [
        "features", "net", "bf16", "blocks.4, features", 6, 2
    ]  # fmt: skip
    assert (activations["kind"], activations["bytes"]) == ("activations", 523)
    assert found["within_limit"] == found["bytes"] == features["bytes"] + 523
    _, out, _ = run(capsys, "info")
    assert "blocks.4, features" in out
    assert "20.9 kB of at most 3.0 MB" in " ".join(out.split())


def test_info_of_nothing(empty_cache, capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert "0 B" in out
