"""Leases: what a process uses stays, whatever another one clears."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import zoo
from zoo.cache.folders import cache_folder
from zoo.cache.inventory import keep_within_limit
from zoo.cache.lease import Lease, remove_unused
from zoo.cli.app import main
from zoo.features.store import FeatureStore

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
    assert main(["cache", "clear", "--yes"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "0 B freed."
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
from zoo.cache.lease import Lease, remove_unused
folder = Path(sys.argv[1])
for _ in range(1000):
    {}
"""
    opening = "held = Lease(folder, create=True); (folder / 'file').write_text('x'); del held"
    folder = cache_folder("features") / "contested"
    bodies = [opening, opening, "remove_unused(folder)"]
    processes = [subprocess.Popen([sys.executable, "-c", code.format(body), folder]) for body in bodies]
    assert [process.wait() for process in processes] == [0, 0, 0]
    remove_unused(folder)
    assert [path for path in folder.parent.iterdir() if path != folder] == []


def test_a_lease_on_what_is_not_there(empty_cache):
    with pytest.raises(FileNotFoundError):
        Lease(empty_cache / "nothing")
    assert not empty_cache.exists()


def test_without_locks_what_was_used_within_a_day_stays(empty_cache, monkeypatch):
    monkeypatch.setattr("zoo.cache.lease.fcntl", None)
    new, old = cache_folder("features") / "new", cache_folder("features") / "old"
    for folder, age in ((new, 3600), (old, 25 * 3600)):
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    assert not remove_unused(new)
    assert remove_unused(old)
    Lease(new)


@pytest.mark.parametrize("engine", ["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_clearing_while_features_are_extracted(engine, empty_cache, tmp_path, tiny, samples):
    whole = Image.open(samples / "china.jpg")
    paths = []
    for i in range(64):
        paths.append(str(tmp_path / f"{i}.png"))
        whole.crop((i, i, i + 64, i + 64)).save(paths[-1])
    code = f"""
import hashlib, zoo
X = zoo.extract("local-dir:{tiny.folder}", {paths!r}, engine="{engine}").X
print(hashlib.sha256(X.tobytes()).hexdigest())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    times = 0
    while process.poll() is None:
        assert main(["cache", "clear", "--yes"]) == 0
        times += 1
        time.sleep(0.1)
    disturbed = process.communicate()[0].strip()
    assert process.returncode == 0
    assert times > 5
    assert disturbed == hashlib.sha256(zoo.extract(tiny, paths, engine=engine).X.tobytes()).hexdigest()
