"""Several processes train what one trains, and one of them speaks and writes."""

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from photos import crops
from safetensors.numpy import load_file

from finetune.cli.app import main
from finetune.errors import TrainingError
from finetune.training.team import Team, rank_and_size

LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

MASTER = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def use(**variables):
        for name in LAUNCHER:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.mark.parametrize("alone", [{}, {"RANK": "0"}, {"WORLD_SIZE": "1"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_is_no_team(alone, environment):
    environment(**alone)
    assert rank_and_size() == (0, 1)
    assert (Team().rank, Team().size) == (0, 1)


def test_a_launcher_says_which_process_this_is(environment):
    environment(RANK="1", WORLD_SIZE="2", **MASTER)
    assert rank_and_size() == (1, 2)


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "1"},
        {"WORLD_SIZE": "2"},
        {"RANK": "1", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2", **MASTER},
        {"RANK": "first"},
    ],
    ids=str,
)
def test_half_of_a_launchers_variables_are_refused_with_the_next_step(variables, environment):
    environment(**variables)
    for ask in (rank_and_size, Team):
        with pytest.raises(TrainingError, match=r"(?i)RANK|WORLD_SIZE") as raised:
            ask()
        assert "accelerate launch" in raised.value.next_step


def test_the_command_refuses_them_and_leaves_nothing(environment, tmp_path, monkeypatch, capsys):
    """With RANK alone, it once trained into a folder that was then deleted, and exited with 0."""
    environment(RANK="1")
    monkeypatch.chdir(tmp_path)
    assert main(["--strategy", "full", "--data", str(crops(tmp_path / "photos", n=3)), "--out", "run"]) == 2
    assert "WORLD_SIZE" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


#: The images of five folds divide into batches in which the processes' shares differ in size.
STRATEGIES = {
    "full": ["--img-size", "64", "--batch-size", "5"],
    "last-layers": ["--num-views", "2", "--batch-size", "5"],
}


needs_accelerate = pytest.mark.skipif(
    find_spec("accelerate") is None, reason="several processes train together through accelerate"
)


@pytest.fixture(scope="module")
def settings(small_networks, few_photos):
    """Everything but the strategy's own options, for the same training alone and together."""
    model = small_networks("test_resnet").folder
    return ["--data", few_photos, "--model", f"local-dir:{model}", "--engine", "torch", "--json"]


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


@pytest.mark.slow
@needs_accelerate
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_train_what_one_does(strategy, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--strategy",
        strategy,
        "--epochs",
        "2",
        "--lr",
        "1e-4",
        "--no-interpolate",
        *settings,
        *STRATEGIES[strategy],
    ]
    runs = [finetune(*arguments, "--out", "one"), finetune(*arguments, "--out", "two", together=True)]
    assert [done.returncode for done in runs] == [0, 0], runs[-1].stderr[-2000:]
    one, two = (json.loads(done.stdout) for done in runs)  # the follower prints nothing
    assert two["choice"]["epochs"] == one["choice"]["epochs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert runs[1].stderr.count("finetune resume") == 1
    before, after = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
@needs_accelerate
def test_a_training_that_diverges_ends_in_all_processes(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    diverging = ["--lr", "99", "--clip-grad", "0", "--opt", "sgd", "--head-init", "random", "--epochs", "9"]
    done = finetune(
        "--strategy", "full", *settings, *STRATEGIES["full"], *diverging, "--out", "run", together=True
    )
    assert done.returncode != 0
    assert "Try a lower --lr" in done.stderr
    assert not (tmp_path / "run").exists()
