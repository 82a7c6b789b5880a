"""Any bytes at all, opened as an image: a picture or a message, soon, and without keeping memory."""

import faulthandler
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_images import READ, SKIPPED, make_all

from zoo.images.decode import UnreadableImage, open_image
from zoo.images.preprocess import Preprocess

#: The case that takes longer than that many seconds is a failure.
LIMIT = 5

#: Memory that may be kept after many cases, in bytes: caches of the decoders, fragments.
KEPT = 100 * 2**20

_PREPROCESS = Preprocess((64, 64))


def contents(folder):
    """One file of each kind, as bytes, below 20 kB: the seeds of what is mutated."""
    made = make_all(folder)
    files = [path for odd, path in made.values() if odd.outcome in (READ, SKIPPED) and path.is_file()]
    return [data for data in (path.read_bytes() for path in files) if 0 < len(data) < 20_000]


def case(content):
    """Open it; returns whether a picture came out. Anything else than UnreadableImage is raised."""
    try:
        image = open_image(content)
        _PREPROCESS(image)
    except UnreadableImage:
        return False
    return image.mode == "RGB"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return contents(tmp_path_factory.mktemp("seeds") / "a" / "b")


@settings(max_examples=300, deadline=1000 * LIMIT, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutated_and_random_bytes(seeds, data):
    """Hypothesis chooses a file and what becomes of it, and shrinks what fails."""
    content = bytearray(data.draw(st.sampled_from([b"", *seeds])))
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.sampled_from([0, 1, 2, 4, 50, 10**6])))
        content[start:end] = data.draw(st.binary(max_size=64))
    case(bytes(content))


def mutate(content, rng):
    """Overwrite, insert, remove, repeat or cut, as a broken disk, a broken program or an attacker might."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        start, length = rng.integers(len(content) + 1), int(rng.choice([1, 1, 2, 4, 16, 200]))
        kind = rng.integers(7)
        if kind == 0:
            content[start : start + length] = rng.bytes(length)
        elif kind == 1:
            content[start:start] = rng.bytes(length)
        elif kind == 2:
            del content[start : start + length]
        elif kind == 3:
            content[start:start] = content[max(0, start - length) : start] * 3
        elif kind == 4:
            content[start : start + length] = bytes([int(rng.choice([0, 1, 127, 128, 255]))]) * length
        elif kind == 5 and len(content):
            content[min(start, len(content) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 6 and rng.random() < 0.3:
            del content[start:]
    return bytes(content)


def many(seeds, cases, seed=0):
    """Try so many; returns how many gave a picture, and the longest time of one in seconds."""
    rng, pictures, longest = np.random.default_rng(seed), 0, 0.0
    for i in range(cases):
        content = rng.bytes(int(rng.integers(3000))) if i % 10 == 0 else mutate(seeds[i % len(seeds)], rng)
        faulthandler.dump_traceback_later(
            60, exit=True
        )  # what hangs in a decoder can be ended in no other way
        began = time.process_time()
        pictures += case(content)
        longest = max(longest, time.process_time() - began)
    faulthandler.cancel_dump_traceback_later()
    return pictures, longest


@pytest.mark.slow
def test_twenty_thousand_cases(tmp_path):
    """In a process of its own, so that a crash of a decoder is seen as its exit code."""
    program = [sys.executable, "-W", "ignore", __file__, str(tmp_path / "a" / "b"), "20000"]
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(program, capture_output=True, text=True, env=_with_path(tests), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)
    pictures, longest, kept = map(float, done.stdout.split())
    assert 1000 < pictures < 19_000
    assert longest < LIMIT
    assert kept < KEPT


def _with_path(*folders):
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])}


if __name__ == "__main__":
    seeds_of_main = contents(Path(sys.argv[1]))
    many(seeds_of_main, 2000, seed=1)  # what decoders and allocators keep from the first use on
    before = psutil.Process().memory_info().rss
    found = many(seeds_of_main, int(sys.argv[2]))
    print(*found, psutil.Process().memory_info().rss - before)
