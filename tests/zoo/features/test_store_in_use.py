"""The store where things go wrong: several processes, killed ones, a full disk, a folder for reading only."""

import errno
import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from zoo.cache.folders import CacheError
from zoo.features.store import DamagedRecord, FeatureStore

WIDTH = 50


@pytest.fixture
def store(empty_cache):
    return FeatureStore({"model": "m"}, WIDTH)


def digest(i):
    return hashlib.sha256(b"%d" % i).hexdigest()


def add(store, *numbers):
    store.add([digest(i) for i in numbers], np.array([[i] * WIDTH for i in numbers], np.float32))


def holds(store, *numbers):
    return store.take([digest(i) for i in numbers])[:, 0].tolist() == list(numbers)


ADDING = """
import hashlib, sys, numpy as np
from zoo.features.store import FeatureStore
store = FeatureStore({"model": "m"}, 50)
print("ready", flush=True)
for i in range(int(sys.argv[1]), 10**6, 2):
    store.add([hashlib.sha256(b"%d" % i).hexdigest()], np.full((1, 50), i, np.float32))
"""


def test_writers_that_are_killed_at_any_moment_do_no_damage(store):
    for _ in range(3):
        writers = [
            subprocess.Popen([sys.executable, "-c", ADDING, str(start)], stdout=subprocess.PIPE)
            for start in (0, 1)
        ]
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        for _ in range(300):  # A reader in the midst of it.
            there = [i for i in range(8) if not store.missing([digest(i)])]
            assert holds(store, *there)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    # Killed writers may have left a lock file and half a record, but no lock.
    add(store, -1, -2)
    again = FeatureStore({"model": "m"}, WIDTH)
    there = [i for i in range(10**4) if not again.missing([digest(i)])]
    assert len(there) > 10
    assert holds(again, *there, -1, -2)


@pytest.mark.parametrize("torn", [(0, 100), (0, 204), (7, 204), (32, 204)])
def test_a_writer_killed_between_rows_and_digests(store, torn):
    add(store, 1, 2)
    for name, extra in zip(("digests.bin", "rows.bin"), torn, strict=True):
        with open(store.folder / name, "ab") as file:
            file.write(b"x" * extra)
    for one in (store, FeatureStore({"model": "m"}, WIDTH)):
        assert holds(one, 1, 2)
        assert one.missing([digest(3)]) == {digest(3)}
    add(store, 3)
    assert holds(FeatureStore({"model": "m"}, WIDTH), 1, 2, 3)


def test_a_full_disk_is_said_and_does_no_damage(store, monkeypatch):
    add(store, 1)
    append = FeatureStore._append

    def full(path, start, content):
        append(path, start, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FeatureStore, "_append", staticmethod(full))
    with pytest.raises(CacheError, match=r"disk is full.*zoo cache clear.*ZOO_CACHE"):
        add(store, 2, 3)
    monkeypatch.undo()
    assert holds(store, 1)
    assert store.missing([digest(2)]) == {digest(2)}
    add(store, 2, 3)
    assert holds(store, 1, 2, 3)


def test_a_cache_that_cannot_be_written_is_said(store, monkeypatch, tmp_path):
    add(store, 1)

    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FeatureStore, "_append", staticmethod(forbidden))
    monkeypatch.setattr(os, "utime", forbidden)
    readable = FeatureStore({"model": "m"}, WIDTH)
    assert holds(readable, 1)  # Reading is still of use.
    with pytest.raises(CacheError, match=r"no permission to write\. .*ZOO_CACHE"):
        add(readable, 2)
    monkeypatch.undo()
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"cannot be used: .*file"):
        FeatureStore({"model": "m"}, WIDTH)


def test_a_folder_deleted_by_hand_and_filled_anew_gives_nobody_anothers_features(store):
    add(store, 1, 2)
    for path in store.folder.iterdir():
        path.unlink()
    with pytest.raises(DamagedRecord):
        store.take([digest(1)])
    add(FeatureStore({"model": "m"}, WIDTH), 2, 1, 3)
    stale = FeatureStore({"model": "m"}, WIDTH)
    stale._places = {bytes.fromhex(digest(i)): i - 1 for i in (1, 2)}  # As they were.
    with pytest.raises(DamagedRecord):
        stale.take([digest(1), digest(2)])
    assert holds(FeatureStore({"model": "m"}, WIDTH), 1, 2, 3)
