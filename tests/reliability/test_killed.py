"""Commands that are killed, interrupted and ended at random moments: nothing is lost, nothing is half."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from photos import crops
from results import a_check, a_run, an_export, comparison, features
from warm import Warm

from zoo.writing import TEMPORARY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)

#: So often is each command killed; KILLS=3 makes a quick trial of the slow test.
KILLS = int(os.environ.get("KILLS", "40"))


@pytest.fixture(scope="module")
def warm():
    with Warm() as process:
        yield process


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=20, side=64)


def commands(network, photos):
    """Each command, where its result is, and what says whether that is whole."""
    data = ("--data", photos, "--model", network, "--engine", "torch")
    quick = ("--lr", "1e-3", "--epochs", "2", "--batch-size", "8", "--no-interpolate")
    return {
        "extract": (
            ("zoo", "extract", network, photos, "-o", "o.npz", "--engine", "torch"),
            "o.npz",
            features,
        ),
        "fit": (("finetune", *data, "--out", "run"), "run", a_run),
        "train": (("finetune", "--strategy", "last-layers", *data, *quick, "--out", "run"), "run", a_run),
        "compare": (("finetune", "compare", *data, "--repeats", "1", "--out", "c"), "c", comparison),
        "check": (("finetune", "check", *data, "--out", "k"), "k", a_check),
        "export": (("finetune", "export", "given", "--format", "timm", "--out", "e"), "e", an_export),
    }


def clear(place, cache, everything):
    """As before the first run; the cache too where `everything` shall be done again."""
    for path in place.iterdir():
        if path.name != "given":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(cache if everything else cache / "finetune-zoo-v1" / "features", ignore_errors=True)


def kill_again_and_again(warm, name, network, photos, place, kills, seed):
    """Kill a command at random moments; returns how often it was killed, and what was found afterwards."""
    (program, *words), out, whole = commands(network, photos)[name]
    cache, out = place.parent / "cache", place / out
    how = {"cwd": place, "cache": cache}
    if name == "export":
        if "export" not in _known_commands():
            pytest.skip("there is no finetune export")
        given = ("--data", photos, "--model", network, "--features", "last", "--out", "given")
        assert warm.run("finetune", *given, **how)[0] == 0
    began = time.monotonic()
    code, text = warm.run(program, *words, **how)
    assert code in (0, 1), text
    longest = time.monotonic() - began
    expected = whole(out)
    assert expected is not None
    chance, killed, finished = random.Random(seed), 0, 0
    while killed < kills:
        clear(place, cache, everything=killed % 3 == 0)
        for _ in range(3):  # some kills in a row, so that what was left behind meets the next command
            child = warm.start(program, *(words if not _resumable(place) else ("resume", "run")), **how)
            longest = min(longest, wait(child, chance.uniform(0.05, longest)))
            number = chance.choice(SIGNALS)
            child.kill(number)
            code, text = child.wait()
            assert "Traceback" not in text, text
            assert code in (-number, 128 + number, 0, 1), (code, text)
            killed += code not in (0, 1)
            finished += code in (0, 1)
            assert whole(out) in (None, expected)
            strangers = [p.name for p in place.iterdir() if not _known(p, out)]
            assert not strangers
            if code in (0, 1):
                break
        code, text = warm.run(program, *(words if not _resumable(place) else ("resume", "run")), **how)
        assert code in (0, 1), text  # the next call goes on
        assert whole(out) == expected
    return killed, finished


def wait(child, seconds):
    """Wait so long, or until it has ended; returns how long it took, infinite if it has not ended."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if child.ended():
            return time.monotonic() - began
        time.sleep(0.02)
    return float("inf")


def _known_commands():
    from finetune.cli.app import app

    return set(app)


def _resumable(place):
    return (place / "run.unfinished" / "request.json").exists()


def _known(path, out):
    """Whether a name is that of a result, of a training to be continued, or hidden as unfinished."""
    hidden = path.name.startswith(".") and (
        path.name.endswith(TEMPORARY) or path.name.startswith(".finetune-")
    )
    return hidden or path.name in (out.name, "given", f"{out.name}.unfinished")


NAMES = ("extract", "fit", "train", "compare", "check", "export")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_random_moments(name, warm, network, photos, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    killed, finished = kill_again_and_again(warm, name, network, photos, place, KILLS, seed=len(name))
    print(f"{name}: {killed} killed, {finished} had finished, 0 lost")
    assert killed >= KILLS


@pytest.mark.parametrize("name", ["extract", "fit"])
def test_killed_a_few_times(name, warm, network, photos, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    killed, _ = kill_again_and_again(warm, name, network, photos, place, 3, seed=1)
    assert killed >= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_that_can_be_caught_leaves_nothing(number, warm, network, photos, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    words = (
        "--strategy",
        "full",
        "--data",
        photos,
        "--model",
        network,
        "--engine",
        "torch",
        "--epochs",
        "500",
    )
    child = warm.start(
        "finetune", *words, "--lr", "1e-4", "--out", "run", cwd=place, cache=tmp_path / "cache"
    )
    while not list(place.glob("run.unfinished/*.safetensors")):
        assert not child.ended()
        time.sleep(0.02)
    child.kill(number)
    code, text = child.wait()
    assert code == 128 + number
    assert "finetune resume run" in text
    assert "Traceback" not in text
    assert [p.name for p in place.iterdir()] == ["run.unfinished"]
    assert not [p.name for p in (place / "run.unfinished").iterdir() if p.name.endswith(TEMPORARY)]


@pytest.mark.slow
def test_killed_while_an_earlier_run_is_replaced(warm, network, photos, tmp_path):
    """At every moment, the earlier run or the new one is there."""
    place, cache = tmp_path / "place", tmp_path / "cache"
    place.mkdir()
    words = ("--data", photos, "--model", network, "--engine", "torch", "--out", "run")
    began = time.monotonic()
    assert warm.run("finetune", *words, "--seed", "1", cwd=place, cache=cache)[0] == 0
    typical, chance = time.monotonic() - began, random.Random(0)
    there, seen, killed = 1, set(), 0
    for _ in range(2 * KILLS):
        child = warm.start("finetune", *words, "--seed", str(1 - there), cwd=place, cache=cache)
        took = wait(child, typical * chance.uniform(0.5, 1.2))  # most is written at the end
        typical = min(took, 1.2 * typical)
        child.kill(signal.SIGKILL)
        code, text = child.wait()
        assert "Traceback" not in text
        killed += code != 0
        found = a_run(place / "run")
        assert found is not None
        assert code != 0 or found["run"]["seed"] == 1 - there
        there = found["run"]["seed"]
        seen.add(there)
    print(f"replaced: {killed} killed, {2 * KILLS - killed} had finished, 0 lost")
    assert seen == {0, 1}


@pytest.mark.parametrize("pairs", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_two_processes_with_one_out(pairs, warm, network, photos, tmp_path):
    """One of them wins, and its run is whole; the other is replaced, or kept elsewhere with a message."""
    place, cache = tmp_path / "place", tmp_path / "cache"
    place.mkdir()
    words = ("--data", photos, "--model", network, "--engine", "torch", "--out", "run")
    expected = {}
    for seed in (0, 1):
        assert warm.run("finetune", *words, "--seed", str(seed), cwd=place, cache=cache)[0] == 0
        expected[seed] = a_run(place / "run")
        shutil.rmtree(place / "run")
    for i in range(pairs):
        both = [warm.start("finetune", *words, "--seed", str(s), cwd=place, cache=cache) for s in (0, 1)]
        ends = [child.wait() for child in both]
        assert all("Traceback" not in text for _, text in ends)
        assert {code for code, _ in ends} <= {0, 2}
        assert 0 in {code for code, _ in ends}
        found = a_run(place / "run")
        assert found == expected[found["run"]["seed"]]
        if i % 2:
            shutil.rmtree(place / "run")


def test_two_processes_extract_into_one_file(warm, network, photos, tmp_path):
    place, cache = tmp_path / "place", tmp_path / "cache"
    place.mkdir()
    words = ("extract", network, photos, "-o", "o.npz", "--engine", "torch")
    both = [warm.start("zoo", *words, cwd=place, cache=cache) for _ in range(2)]
    assert [child.wait()[0] for child in both] == [0, 0]
    together = features(place / "o.npz")
    assert warm.run("zoo", *words, cwd=place, cache=tmp_path / "another cache")[0] == 0
    assert features(place / "o.npz") == together
    assert Path(place / "o.npz").exists()
