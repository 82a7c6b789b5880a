"""Whatever stops a training, it goes on where it was, to the same bytes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune.cli.app import main
from finetune.runs import Unfinished
from finetune.training.checkpoint import Checkpoint

#: How often each training is killed; KILLS=20 for the figure in docs/performance.md.
KILLS = int(os.environ.get("KILLS", "3"))

#: Many short epochs, so that there is much to be killed in.
STRATEGIES = {
    "last-layers": {"--num-views": "2", "--epochs": "60", "--mixup": "0.2"},
    "full": {"--img-size": "64", "--epochs": "25", "--model-ema-decay": "0.9", "--bn": "train"},
}


@pytest.fixture(scope="module")
def model(small_networks):
    return small_networks("test_resnet").folder


@pytest.fixture(scope="module")
def photos(few_photos):
    return few_photos


def arguments(strategy, photos, model, out, **more):
    options = {"--data": photos, "--model": f"local-dir:{model}", "--out": out, "--engine": "torch",
               "--lr": "1e-4", "--patience": "99", "--batch-size": "4", **STRATEGIES[strategy]}  # fmt: skip
    options |= {f"--{name}": value for name, value in more.items()}
    return [
        "--strategy",
        strategy,
        "--no-interpolate",
        *(str(word) for option in options.items() for word in option),
    ]


def start(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "finetune", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
        # A shell lets what it starts in the background ignore Ctrl-C, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_a_checkpoint(process, run="run", beside=()):
    """Wait until something is written that was not there before, or the process has ended."""
    while process.poll() is None:
        found = {(p.name, p.stat().st_mtime_ns) for p in Path(f"{run}.unfinished").glob("*.safetensors")}
        if found - set(beside):
            return
        time.sleep(0.01)


def written(run="run"):
    return [(p.name, p.stat().st_mtime_ns) for p in Path(f"{run}.unfinished").glob("*.safetensors")]


def untimed(path):
    return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in path.open()]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_again_and_again_it_ends_with_the_same_bytes(strategy, photos, model, here):
    assert start(*arguments(strategy, photos, model, "straight")).wait() == 0
    chance, kills = random.Random(0), 0
    process = start(*arguments(strategy, photos, model, "run"))
    while kills < KILLS:
        wait_for_a_checkpoint(process, beside=written())
        time.sleep(chance.uniform(0, 0.3))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        assert Unfinished("run").has_checkpoints()
        assert not Path("run").exists()
        process = start("resume", "run")
    _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    assert kills == KILLS
    for name in ("model/model.safetensors", "model/config.json", "predictions.csv"):
        assert (here / "straight" / name).read_bytes() == (here / "run" / name).read_bytes(), name
    assert untimed(here / "straight" / "metrics.jsonl") == untimed(here / "run" / "metrics.jsonl")
    straight, run = (json.loads((here / name / "run.json").read_text()) for name in ("straight", "run"))
    assert straight["choice"] == run["choice"]
    assert straight["test"] == run["test"]
    assert not Path("run.unfinished").exists()


def test_ctrl_c_keeps_what_is_done(photos, model, here):
    process = start(*arguments("full", photos, model, "run", epochs=5000))
    wait_for_a_checkpoint(process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "finetune resume run" in error.decode()
    assert "Traceback" not in error.decode()
    assert sorted(path.name for path in here.iterdir()) == ["run.unfinished"]
    assert Unfinished("run").has_checkpoints()


def test_a_run_that_another_process_trains_is_left_alone(photos, model, here, capsys):
    process = start(*arguments("full", photos, model, "run", epochs=5000))
    wait_for_a_checkpoint(process)
    assert main(["resume", "run"]) == 2
    assert "Another process is training" in capsys.readouterr().err
    assert main(arguments("full", photos, model, "run")) == 2
    assert "was not finished" in capsys.readouterr().err
    assert process.poll() is None
    process.kill()
    process.communicate()


# In one process


def stop_in(monkeypatch, moment):
    """Stop as Ctrl-C would, at some writing of a checkpoint."""
    plain, writings = Checkpoint.write, []

    def write(self, *given):
        plain(self, *given)
        writings.append(1)
        if len(writings) == moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", write)


@pytest.fixture
def stopped(photos, model, here, monkeypatch):
    """The folder of a training that was stopped, with its own images beside it, named by relative paths."""
    shutil.copytree(photos, here / "photos")
    shutil.copytree(model, here / "network")
    with monkeypatch.context() as patch:
        stop_in(patch, 4)
        assert main(arguments("full", "photos", "network", "run", epochs=2)) == 130
    assert sorted(path.name for path in here.iterdir()) == ["network", "photos", "run.unfinished"]
    return here / "run.unfinished"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def test_it_continues_from_another_folder(stopped, here, monkeypatch, capsys):
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert main(["resume", str(here / "run")]) == 0, capsys.readouterr().err
    assert (here / "run" / "run.json").exists()
    assert not stopped.exists()


@pytest.mark.parametrize("name", ["run", "run/", "run.unfinished", "run.unfinished/"])
def test_it_may_be_named_as_people_name_folders(name, stopped, here):
    assert main(["resume", name]) == 0
    assert (here / "run" / "run.json").exists()
    assert not stopped.exists()


def test_a_second_training_in_its_place_is_refused(stopped, photos, model, capsys):
    before = contents(stopped)
    assert main(arguments("full", photos, model, "run")) == 2
    assert "finetune resume run" in capsys.readouterr().err
    assert contents(stopped) == before


def test_other_images_are_refused_and_nothing_is_lost(stopped, here, capsys):
    before = contents(stopped)
    image = here / "photos" / "china" / "0.png"
    image.write_bytes((here / "photos" / "flower" / "0.png").read_bytes())
    assert main(["resume", "run"]) == 2
    assert "images are not those" in capsys.readouterr().err
    assert contents(stopped) == before


def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(stopped, capsys):
    path = sorted(stopped.glob("*.safetensors"))[-1]
    path.write_bytes(path.read_bytes()[:100])
    before = contents(stopped)
    assert main(["resume", "run"]) == 2
    error = capsys.readouterr().err
    assert path.name in error
    assert "Traceback" not in error
    assert contents(stopped) == before


def test_what_cannot_be_continued_is_told_apart(photos, model, here, capsys):
    assert main(arguments("full", photos, model, "done", epochs=1)) == 0
    assert not Path("done.unfinished").exists()
    Path("foreign").mkdir()
    Path("foreign/thesis.txt").write_text("years of work")
    for name, words in (
        ("done", "is finished"),
        ("foreign", "not an interrupted training"),
        ("nothing", "not an interrupted training"),
    ):
        assert main(["resume", name]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error
    assert Path("foreign/thesis.txt").read_text() == "years of work"
    assert not Path("nothing").exists()


def test_an_error_before_the_training_leaves_nothing(photos, here):
    assert main(arguments("full", photos, "no/such/network", "run")) == 2
    assert list(here.iterdir()) == []
