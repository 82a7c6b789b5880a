"""A disk that is full at any moment, and places that cannot be written: one message, and nothing half."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import call
from full_disk import DISK
from photos import crops
from results import a_check, a_run, an_export, comparison, features, pair

import finetune.cli.app
import zoo.cli.app
from zoo.writing import TEMPORARY

MAINS = {"finetune": finetune.cli.app.main, "zoo": zoo.cli.app.main}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=6, side=64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, with a cache beside it."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return place


def commands(network, photos):
    """Each command, its result's place, and what reads it."""
    data = ("--data", photos, "--model", network, "--engine", "torch")
    extract = ("extract", network, photos, "--engine", "torch", "-o")
    quick = ("--lr", "1e-3", "--epochs", "1", "--batch-size", "8", "--no-interpolate")
    return {
        "extract": (("zoo", *extract, "o.npz"), "o.npz", features),
        "extract npy": (("zoo", *extract, "o.npy"), "o.npy", pair),
        "fit": (("finetune", *data, "--out", "run"), "run", a_run),
        "train": (("finetune", "--strategy", "last-layers", *data, *quick, "--out", "run"), "run", a_run),
        "compare": (("finetune", "compare", *data, "--repeats", "0", "--methods", "knn", "raw", "--out", "c"),
                    "c", comparison),
        "check": (("finetune", "check", *data, "--out", "k"), "k", a_check),
        "search": (("finetune", "search", *data, "--trials", "2", "--out", "run"), "run", a_run),
        "export": (("finetune", "export", "given", "--format", "timm", "--out", "e"), "e", an_export),
    }  # fmt: skip


NAMES = tuple(commands("", ""))


def ready(name, network, photos, here):
    """A command's words, its result and its reader; what it needs is made."""
    (program, *words), out, whole = commands(network, photos)[name]
    if name == "export":
        if "export" not in set(finetune.cli.app.app):
            pytest.skip("there is no finetune export")
        done = call(
            MAINS["finetune"], "--data", photos, "--model", network, "--engine", "torch", "--out", "given"
        )
        assert done.code == 0, done.err
    return MAINS[program], words, here / out, whole


def clear(here):
    for path in here.iterdir():
        if path.name != "given":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(os.environ["ZOO_CACHE"], ignore_errors=True)


def leftovers(here):
    return [p.name for p in here.iterdir() if p.name.endswith(TEMPORARY) or p.name.startswith(".finetune-")]


def fail_at(number, main, words, here, out, whole):
    """Run a command whose n-th writing fails; returns how many there were."""
    clear(here)
    with DISK.watched(here.parent, fails_at=number):
        done = call(main, *words)
    assert done.code in (0, 1, 2), number
    assert "Traceback" not in done.err
    if done.code == 2:
        assert len(done.err.strip().splitlines()) >= 2, (number, done.err)
        assert whole(out) is None or "kept in" in done.err, number
    assert not leftovers(here) or "kept in" in done.err, (number, done.err)
    return len(DISK.written), done


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_full_at_every_writing(name, network, photos, here):
    """One run for each file, folder and renaming of a command: each time, that one fails."""
    main, words, out, whole = ready(name, network, photos, here)
    writings, done = fail_at(None, main, words, here, out, whole)
    assert done.code in (0, 1), done.err
    assert whole(out) is not None
    failed = 0
    for number in range(1, writings + 1):
        failed += fail_at(number, main, words, here, out, whole)[1].code == 2
    print(f"{name}: {writings} writings, of which {failed} stop the command when they fail")
    assert failed > 3
    resume = (here / "run.unfinished" / "request.json").exists()
    assert call(main, *(("resume", "run") if resume else words)).code in (0, 1)


@pytest.mark.parametrize("name", ["extract", "fit"])
def test_full_at_some_writings(name, network, photos, here):
    main, words, out, whole = ready(name, network, photos, here)
    writings, done = fail_at(None, main, words, here, out, whole)
    assert done.code == 0, done.err
    for number in (1, writings // 3, writings // 2, writings):
        fail_at(number, main, words, here, out, whole)


@contextmanager
def small_disk(place, size):
    """A disk of some bytes, mounted where a test says."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root's rights")
    try:
        yield
    finally:
        os.chdir("/")
        subprocess.run(["umount", "-l", str(place)], check=True)


def on_a_small_disk(size, name, network, photos, place, monkeypatch):
    (program, *words), out, whole = commands(network, photos)[name]
    with small_disk(place, size):
        monkeypatch.chdir(place)
        monkeypatch.setenv("ZOO_CACHE", str(place / "cache"))
        done = call(MAINS[program], *words)
        assert done.code in (0, 1, 2), done.err
        assert "Traceback" not in done.err
        assert (whole(place / out) is None) == (done.code == 2), done.err
        assert not leftovers(place)
    return done


SIZES = (4096, 100_000, 1_000_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_small_disk(size, network, photos, tmp_path, monkeypatch):
    """A real disk that is really full, cache and results on it."""
    done = on_a_small_disk(size, "fit", network, photos, tmp_path / "disk", monkeypatch)
    assert done.code == 2
    assert "No space left" in done.err or "disk is full" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "export"])
def test_disks_of_every_size(name, network, photos, tmp_path, monkeypatch):
    """From nothing to enough, in steps of 128 kB."""
    failed = 0
    for size in range(4096, 40_000_000, 128 * 1024):
        done = on_a_small_disk(size, name, network, photos, tmp_path / "disk", monkeypatch)
        if done.code != 2:
            break
        failed += 1
    print(f"{name}: {failed} disks too small, the first that sufficed has {size / 1e6:.1f} MB")
    assert done.code in (0, 1)
    assert failed


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """A working folder that nobody may write to, not even root."""
    place = tmp_path / "read-only"
    place.mkdir()
    options = (["--bind", str(place), str(place)], ["-o", "remount,bind,ro", str(place)])
    if any(subprocess.run(["mount", *words], capture_output=True).returncode for words in options):
        pytest.skip("mounting needs root's rights")
    monkeypatch.chdir(place)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    yield place
    os.chdir("/")
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_working_folder(read_only, network, photos):
    for name, ((program, *words), _, _) in commands(network, photos).items():
        if name == "export":
            continue
        done = call(MAINS[program], *words)
        assert done.code == 2, name
        assert "cannot be written" in done.err
        assert len(done.err.strip().splitlines()) >= 2, done.err
    by_default = [word for word in commands(network, photos)["fit"][0][1:] if word not in ("--out", "run")]
    assert "runs" in call(MAINS["finetune"], *by_default).err
    assert list(read_only.iterdir()) == []
    assert not Path("runs").exists()


def test_a_read_only_working_folder_is_no_hindrance_elsewhere(read_only, network, photos, tmp_path):
    (_, *words), _, _ = commands(network, photos)["fit"]
    assert call(MAINS["finetune"], *words[:-1], tmp_path / "run").code == 0
    assert call(MAINS["finetune"], "predict", tmp_path / "run", photos / "china").code == 0
