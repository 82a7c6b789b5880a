"""A training that is stopped goes on where it was, and ends with the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_finetuning import small_job, small_network
from test_train import crops

import finetune
from finetune.cli import main
from finetune.errors import RunError
from finetune.runs import Unfinished
from finetune.training import parts
from finetune.training.checkpoint import Leg
from finetune.training.loop import train
from finetune.training.recipe import Recipe

EPOCHS = 3

#: How often a training is killed; 20 for the figure in docs/performance.md.
KILLS = int(os.environ.get("KILLS", "1"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=10)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Stop(Exception):
    """What stops a training in the tests."""


class StopsAt:
    """A source that gives out so many batches."""

    def __init__(self, source, most):
        self.source, self.left = source, most

    def __len__(self):
        return len(self.source)

    def batch(self, rows, epoch):
        if epoch is not None:
            self.left -= 1
            if self.left < 0:
                raise Stop
        return self.source.batch(rows, epoch)


RECIPES = {
    "adamw": {},
    "sgd, average": {"optimizer": "sgd", "ema": 0.9},
    "statistics": {"bn": "train", "batch": 6},
    "mixed": {"mixup": 0.4, "smoothing": 0.1, "sampling": "balanced"},
}


@pytest.mark.parametrize("more", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("after", [1, 4, 8])
def test_a_leg_goes_on_between_any_two_updates(more, after, tmp_path):
    recipe = Recipe(**{"rate": 0.01, "epochs": 3, "batch": 4, **more})

    def go(leg, stop=None):
        network = small_network()
        parts.freeze_all_but(network, parts.everything(network), recipe.bn)
        job = small_job(network)
        if stop:
            job.__dict__["source"] = StopsAt(job.source, stop)
        outcome = train(job, np.arange(16), recipe, leg, "", validation=np.arange(16, 20))
        return network.state_dict(), outcome

    straight, plain = go(Leg(None, 60))
    with pytest.raises(Stop):
        go(Leg(tmp_path / "leg.safetensors", seconds=0), after)
    resumed, outcome = go(Leg(tmp_path / "leg.safetensors", seconds=0))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    timeless = [
        [{k: v for k, v in line.items() if "second" not in k} for line in o.log] for o in (plain, outcome)
    ]
    assert timeless[0] == timeless[1]
    assert outcome.best == plain.best
    again, _ = go(Leg(tmp_path / "leg.safetensors", seconds=0), stop=1)  # finished: no batch is asked for
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def command(*arguments):
    return [sys.executable, "-m", "finetune", *map(str, arguments)]


def training(strategy, photos, out):
    more = ["--size", "64"] if strategy == "full" else ["--views", "2"]
    return command(
        "--strategy", strategy, "--data", photos, "--out", out, "--epochs", EPOCHS, "--patience", "9", *more
    )


def untimed(path):
    return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in path.open()]


@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(strategy, photos, here):
    straight = subprocess.run(
        training(strategy, photos, "straight"), capture_output=True, check=True, text=True
    )
    chance = random.Random(0)
    process = subprocess.Popen(training(strategy, photos, "killed"), stderr=subprocess.PIPE)
    kills = 0
    while kills < KILLS:
        while not list(Path("killed.unfinished").glob("*.safetensors")) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 4 if kills else 0.5))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        assert not Path("killed").exists()
        process = subprocess.Popen(command("resume", "killed"), stderr=subprocess.PIPE)
    _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    assert kills > 0
    assert "finetune resume straight" in straight.stderr
    for name in ("model/model.safetensors", "model/config.json", "predictions.csv"):
        assert (here / "straight" / name).read_bytes() == (here / "killed" / name).read_bytes(), name
    assert untimed(here / "straight" / "metrics.jsonl") == untimed(here / "killed" / "metrics.jsonl")
    assert sorted(path.name for path in here.iterdir() if path.name[0] != ".") == ["killed", "straight"]


def test_ctrl_c_keeps_what_is_done(photos, here):
    process = subprocess.Popen(training("full", photos, "run"), stderr=subprocess.PIPE)
    while not list(Path("run.unfinished").glob("*.safetensors")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "Interrupted." in error.decode()
    assert not Path("run").exists()
    assert Unfinished("run").has_checkpoints()


def unfinished(here, photos, name="run"):
    """What a process that was killed in its first epoch leaves."""
    asked = {"data": str(photos), "model": "efficientnet_lite0", "strategy": "full", "seed": 0}
    asked |= {"strict": False, "engine": "auto", "precision": "fp32", "folder": str(here)}
    Unfinished(here / name).begin(asked | {"options": {"epochs": 1, "rate": 1e-3, "size": 32}})


def test_a_finished_a_foreign_and_no_run_are_told_apart(photos, here, capsys):
    finetune.fit(photos, out="done")
    Path("foreign").mkdir()
    for name, words in (("done", "finished"), ("foreign", "no training"), ("nothing", "no training")):
        assert main(["resume", name]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error


def test_damaged_requests_are_refused(here, photos, capsys):
    unfinished(here, photos)
    for text in ("{", "[]", '{"schema": 99}'):
        Path("run.unfinished/request.json").write_text(text)
        assert main(["resume", "run"]) == 2
        assert "damaged" in capsys.readouterr().err


def test_other_images_are_refused_and_nothing_is_lost(here, photos, capsys):
    unfinished(here, photos)
    Path("run.unfinished/data.txt").write_text("another")
    Path("run.unfinished/final.safetensors").write_bytes(b"precious")
    assert main(["resume", "run"]) == 2
    assert "images are not those" in capsys.readouterr().err
    assert Path("run.unfinished/final.safetensors").read_bytes() == b"precious"


def test_an_unfinished_training_is_not_begun_anew_unasked(here, photos, capsys):
    unfinished(here, photos)
    assert main(["--strategy", "full", "--data", str(photos), "--out", "run", "--epochs", "1"]) == 2
    assert "finetune resume run" in capsys.readouterr().err
    assert Unfinished("run").exists()


def test_two_processes_do_not_train_one_run(here, photos):
    unfinished(here, photos)
    with Unfinished("run"), pytest.raises(RunError, match="Another process"):
        finetune.train.resume("run")


def test_another_current_folder_will_do(here, photos, monkeypatch):
    (here / "photos").symlink_to(photos)
    unfinished(here, "photos")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    run = finetune.train.resume(here / "run")
    assert run.test.n == 4
    assert (here / "run" / "run.json").exists()
    assert not (here / "run.unfinished").exists()


def test_a_fault_before_the_training_leaves_nothing(here, photos):
    assert main(["--strategy", "last-layers", "--layers", "99", "--data", str(photos), "--out", "run"]) == 2
    assert list(here.iterdir()) == []


def test_numbers_of_unfinished_runs_are_not_given_away(here, photos):
    unfinished(here / "runs", photos, "photos-probe-001") if (here / "runs").mkdir() is None else None
    assert finetune.fit(photos).path.name == "photos-probe-002"


TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29511"]


def test_two_processes_train_what_one_does(here, photos):
    pytest.importorskip("accelerate")
    from safetensors.numpy import load_file

    options = ["--data", str(photos), "--strategy", "full", "--size", "64", "--epochs", "2", "--rate", "1e-4"]
    options += ["--no-amp", "--optimizer", "sgd", "--batch", "5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(command(*options, "--out", "one"), check=True, capture_output=True, env=environment)
    done = subprocess.run(
        [*TOGETHER, "-m", "finetune", *options, "--out", "two", "--json"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["strategy"] == "full"  # the other one prints nothing
    one, two = (load_file(Path(name) / "model" / "model.safetensors") for name in ("one", "two"))
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    assert sorted(path.name for path in here.iterdir() if path.name[0] != ".") == ["one", "two"]
