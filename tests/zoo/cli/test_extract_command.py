"""``zoo extract`` as people run it: interrupted, killed, beside a terminal, short of files."""

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from zoo.cache.folders import cache_folder
from zoo.cli.app import main
from zoo.engines import BATCH

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals are Unix's")

MODEL = ""  # set when the tiny network is there
N = 15 * BATCH + 5  # so many that a process can be stopped in the midst of them


@pytest.fixture(scope="module")
def ready(shared_cache, tmp_path_factory, tiny):
    """A cache in which the network lies ready for use, so that tests need not wait for that."""
    global MODEL
    MODEL = f"local-dir:{tiny.folder}"
    folder = tmp_path_factory.mktemp("one")
    draw(folder, 1)
    assert main(command(folder, folder / "o.npz")) == 0
    return shared_cache


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of N pictures."""
    folder = tmp_path_factory.mktemp("many")
    draw(folder, N)
    return folder


@pytest.fixture
def features(ready):
    """The folder in which features are kept, empty."""
    folder = cache_folder("features")
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def draw(folder, count, start=0):
    """Small pictures of two classes, all different."""
    for i in range(start, start + count):
        place = folder / ("left" if i % 2 else "right")
        place.mkdir(parents=True, exist_ok=True)
        picture = np.kron(np.random.default_rng(i).integers(256, size=(8, 10, 3)), np.ones((8, 8, 1)))
        Image.fromarray(picture.astype(np.uint8)).save(place / f"{i}.jpg")


def command(folder, output, *options):
    return ["extract", MODEL, str(folder), "-o", str(output), *options]


def process_of(folder, output):
    return [sys.executable, "-m", "zoo", *command(folder, output)]


@pytest.fixture
def extract(capsys):
    """Run the command in this process; return its exit code and what it printed."""

    def run(folder, output, *options):
        capsys.readouterr()
        code = main(command(folder, output, *options))
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def computed(extract):
    """Run the command; return how many images were computed."""

    def run(folder, output):
        code, out, err = extract(folder, output, "--json")
        assert code == 0, err
        return json.loads(out)["computed"]

    return run


def stored(features):
    """How many images' features are kept now."""
    return sum(path.stat().st_size // 32 for path in features.glob("*/digests.bin"))


#: The command, with a pause after each batch, so that it is in the midst of its work when it is stopped.
SLOWLY = """
import sys, time
from zoo.cli.app import main
from zoo.features.spaces import BackboneSpace
run = BackboneSpace.run
BackboneSpace.run = lambda self, batch: (time.sleep(0.2), run(self, batch))[1]
sys.exit(main())
"""


def started(folder, output, features):
    """Start an extraction; return it when the first batch is kept."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *command(folder, output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not stored(features) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert stored(features)
    return process


def test_killed_and_run_again(features, computed, many, tmp_path):
    output = tmp_path / "o.npz"
    process = started(many, output, features)
    process.kill()
    process.communicate()
    kept = stored(features)
    assert 0 < kept < N
    assert not output.exists()
    assert computed(many, output) == N - kept
    shutil.rmtree(features)
    assert computed(many, tmp_path / "uninterrupted.npz") == N
    assert output.read_bytes() == (tmp_path / "uninterrupted.npz").read_bytes()


def test_interrupted_and_run_again(features, computed, many, tmp_path):
    output = tmp_path / "o.npz"
    process = started(many, output, features)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    kept = stored(features)
    assert err.strip() == f"Interrupted. {kept} of {N} images are stored; run the command again to continue."
    assert kept < N
    assert kept % BATCH == 0
    assert list(tmp_path.iterdir()) == []
    assert computed(many, output) == N - kept


def test_a_folder_that_grows(features, computed, tmp_path):
    draw(tmp_path / "photos", 5)
    assert computed(tmp_path / "photos", tmp_path / "o.npz") == 5
    draw(tmp_path / "photos", 3, start=5)
    assert computed(tmp_path / "photos", tmp_path / "o.npz") == 3
    assert np.load(tmp_path / "o.npz")["X"].shape == (8, 256)


def test_few_open_files_are_enough(features, tmp_path):
    draw(tmp_path / "photos", 100)
    done = subprocess.run(
        process_of(tmp_path / "photos", tmp_path / "o.npz"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    assert done.returncode == 0, done.stderr
    assert "100 images of 2 classes" in done.stdout


def test_a_bad_image_costs_only_itself(features, extract, tmp_path):
    photos = tmp_path / "photos"
    draw(photos, 4)
    whole = (photos / "left" / "1.jpg").read_bytes()
    (photos / "left" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "notes.txt").write_text("no image")
    code, out, err = extract(photos, tmp_path / "o.npz")
    assert code == 0
    assert "4 images of 2 classes, 256 features each" in out
    skipped = [line for line in err.splitlines() if line.startswith("skipped ")]
    assert len(skipped) == 2
    assert "broken.jpg: truncated" in skipped[0]
    summary = json.loads(extract(photos, tmp_path / "o.npz", "--json")[1])
    assert [entry["path"] for entry in summary["skipped"]] == [
        str(photos / "left" / "broken.jpg"),
        str(photos / "notes.txt"),
    ]


def test_company_and_place_do_not_matter(features, computed, tmp_path):
    draw(tmp_path / "all", BATCH + 3)
    assert computed(tmp_path / "all", tmp_path / "all.npz") == BATCH + 3
    shutil.rmtree(features)
    (tmp_path / "some" / "left").mkdir(parents=True)
    shutil.copy(tmp_path / "all" / "left" / f"{BATCH + 1}.jpg", tmp_path / "some" / "left")
    assert computed(tmp_path / "some", tmp_path / "some.npz") == 1
    together, alone = np.load(tmp_path / "all.npz"), np.load(tmp_path / "some.npz")
    place = together["paths"].tolist().index(f"left/{BATCH + 1}.jpg")
    assert np.array_equal(together["X"][place], alone["X"][0])


def on_a_terminal(arguments):
    """Run a command with a terminal for standard error; return its exit code and what it showed there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux says so that the other end was closed.
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_terminal_shows_speed_and_time_left(features, many, tmp_path):
    code, shown = on_a_terminal(process_of(many, tmp_path / "o.npz"))
    assert code == 0
    assert re.search(rf"features .* \d+/{N} \d+ images/s \d+:\d\d", shown), shown


def test_a_pipe_gets_results_only(features, tmp_path):
    draw(tmp_path / "photos", 3)
    done = subprocess.run(process_of(tmp_path / "photos", tmp_path / "o.npz"), capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'o.npz'}: 3 images of 2 classes, 256 features each\n"
    assert re.fullmatch(r"3 computed in \d+\.\d s, \d+ images/s\n", done.stderr)


def test_stages_and_other_formats(features, extract, tmp_path):
    draw(tmp_path / "photos", 3)
    output = tmp_path / "o.npy"
    options = (
        "--features",
        "stages.2",
        "--features",
        "blocks.4",
        "--pool",
        "gem",
        "--exact-decoding",
        "--json",
    )
    code, out, err = extract(tmp_path / "photos", output, *options)
    assert code == 0, err
    assert json.loads(out)["widths"] == {"stages.2": 32, "blocks.4": 64}
    assert np.load(output).shape == (3, 96)
    assert json.loads((tmp_path / "o.npy.json").read_text())["model"]["taps"][0]["pool"] == "gem"


@pytest.mark.parametrize(
    ("output", "options", "says"),
    [
        ("o.csv", (), ".parquet"),
        ("o.npz", ("--features", "blocks.99"), "blocks.4"),
        ("o.npz", ("--pool", "max"), "stages.3"),
        ("o.npz", ("--precision", "fp8"), "bf16"),
    ],
)
def test_what_a_user_can_fix(ready, extract, tmp_path, output, options, says):
    draw(tmp_path / "photos", 1)
    code, out, err = extract(tmp_path / "photos", tmp_path / output, *options)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 2
