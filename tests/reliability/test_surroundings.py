"""No home, a clock that jumps back, little shared memory: the same results, or one message."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import call
from full_disk import DISK
from photos import crops
from results import a_run, features

import finetune.cli.app
import zoo.cli.app
from zoo.cache import folders


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=8, side=64)


def command(*words, prefix=(), **how):
    done = subprocess.run(
        [*prefix, sys.executable, "-m", *map(str, words)], capture_output=True, text=True, check=False, **how
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def bare_environment(**more):
    """Nothing of the user's: what a service or a container may have."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become a user without a home"
)


def test_a_cache_needs_a_home_or_a_name(monkeypatch):
    monkeypatch.delenv("ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(folders.CacheError, match="no home folder") as raised:
        folders.cache_root()
    assert "ZOO_CACHE" in raised.value.next_step
    monkeypatch.setenv("ZOO_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(folders.CacheError, match="cannot be found"):
        folders.cache_root()


@needs_root
def test_no_home(photos, network, tmp_path):
    """A user whom the system does not know, without any variable: a message; with ZOO_CACHE, a result."""
    for folder in (tmp_path, *tmp_path.parents, Path(network.partition(":")[2])):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    for path in (photos, photos.parent, Path(network.partition(":")[2]).parent):
        path.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777)
    how = {"user": 54321, "group": 54321, "cwd": place}
    words = ("zoo", "extract", network, photos, "-o", "o.npz", "--engine", "torch")
    done = command(*words, env=bare_environment(), **how)
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("another user may not read this Python")
    assert done.returncode == 2
    assert "ZOO_CACHE" in done.stderr
    assert list(place.iterdir()) == []
    done = command(*words, env=bare_environment(ZOO_CACHE=str(place / "cache")), **how)
    assert done.returncode == 0, done.stderr
    assert features(place / "o.npz") is not None


def test_a_clock_that_jumps_back(photos, network, tmp_path, monkeypatch):
    """Each look at the clock is a day before the last; the files come from the future."""
    words = ("--data", photos, "--model", network, "--engine", "torch")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert call(finetune.cli.app.main, *words, "--out", tmp_path / "run").code == 0
    expected = a_run(tmp_path / "run")
    now = [time.time()]

    def back():
        now[0] -= 24 * 3600
        return now[0]

    monkeypatch.setattr(time, "time", back)
    monkeypatch.setattr(time, "time_ns", lambda: int(back() * 1e9))
    ahead = time.time() + 10 * 365 * 24 * 3600
    for path in [*photos.rglob("*"), *(tmp_path / "cache").rglob("*")]:
        os.utime(path, (ahead, ahead))
    for cache in ("cache", "another cache"):
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / cache))
        assert call(finetune.cli.app.main, *words, "--out", tmp_path / "again").code == 0
        assert a_run(tmp_path / "again") == expected
    assert call(zoo.cli.app.main, "cache", "info").code == 0
    assert call(zoo.cli.app.main, "cache", "clear", "--older-than", "1", "--yes").code == 0


SMALL = """
mount -t tmpfs -o size=256m none /dev/shm && mount -t tmpfs -o size=256m none "$TMPDIR" && exec "$@"
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["probe", "last-layers", "full"])
def test_little_shared_memory_and_a_small_tmp(strategy, photos, tmp_path):
    """256 MB of each, as containers have: nothing of ours needs more."""
    small = tmp_path / "tmp"
    small.mkdir()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("mounting needs root's rights")
    inside = ("unshare", "-m", "sh", "-c", SMALL, "sh")
    quick = () if strategy == "probe" else ("--epochs", "2", "--lr", "1e-4")
    environment = {**os.environ, "TMPDIR": str(small)}
    words = ("finetune", "--strategy", strategy, "--data", photos, *quick, "--out", tmp_path / "run")
    done = command(*words, prefix=inside, env=environment)
    assert done.returncode == 0, done.stderr
    assert a_run(tmp_path / "run") is not None


def test_how_little_is_written_to_tmp(photos, network, tmp_path, monkeypatch):
    """Networks and features go to the cache and to the result, not by way of the system's folder."""
    small = tmp_path / "tmp"
    small.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(small))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    words = ("--data", photos, "--model", network, "--engine", "torch")
    with DISK.watched("/"):
        done = call(finetune.cli.app.main, "compare", *words, "--repeats", "0", "--out", tmp_path / "c")
    assert done.code == 0, done.err
    assert len(DISK.written) > 20
    assert not [path for path in DISK.written if path.startswith((str(small), "/dev/shm"))]
