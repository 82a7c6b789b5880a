"""Several processes train what one trains, and one of them speaks and writes."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from networks import Zoo
from photos import crops
from safetensors.numpy import load_file

pytest.importorskip("accelerate", reason="several processes train together through accelerate")

#: Five folds' pictures divide into batches in which the processes' shares differ in size.
STRATEGIES = {"full": ["--size", "64", "--batch", "5"], "last-layers": ["--views", "2", "--batch", "5"]}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Everything but the strategy's own options, for the same training alone and together."""
    model = Zoo(tmp_path_factory.mktemp("networks"))("test_resnet").folder
    photos = crops(tmp_path_factory.mktemp("data") / "photos", n=8)
    return ["--data", photos, "--model", f"local-dir:{model}", "--no-amp", "--engine", "torch", "--json"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def finetune(*arguments, together=False):
    words = ["-m", "finetune", *map(str, arguments)]
    if together:
        launch = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"]
        words = [*launch, "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                 "--main_process_port", free_port(), *words]  # fmt: skip
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_train_what_one_does(strategy, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--strategy", strategy, "--epochs", "2", "--rate", "1e-4", *settings, *STRATEGIES[strategy]]
    runs = [finetune(*arguments, "--out", "one"), finetune(*arguments, "--out", "two", together=True)]
    assert [done.returncode for done in runs] == [0, 0], runs[-1].stderr[-2000:]
    one, two = (json.loads(done.stdout) for done in runs)  # the follower prints nothing
    assert two["choice"]["epochs"] == one["choice"]["epochs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert runs[1].stderr.count("go on with: finetune resume") == 1
    before, after = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


def test_a_training_that_is_lost_ends_in_all_processes(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lost = ["--rate", "99", "--clip", "0", "--optimizer", "sgd", "--start", "random", "--epochs", "9"]
    done = finetune(
        "--strategy", "full", *settings, *STRATEGIES["full"], *lost, "--out", "run", together=True
    )
    assert done.returncode != 0
    assert "Try a lower --rate" in done.stderr
    assert not (tmp_path / "run").exists()
