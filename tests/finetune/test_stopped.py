"""What a training that was stopped leaves behind is checked before it is used."""

from dataclasses import asdict
from pathlib import Path

import pytest

import finetune
from finetune.cli.app import main
from finetune.errors import RunError
from finetune.experiment import Request
from finetune.runs import Unfinished
from finetune.train import RunRequest


def unfinished(here, photos, name="run"):
    """What a process that was killed in its first epoch leaves."""
    request = RunRequest(Request(str(photos)), "full", {"epochs": 1, "lr": 1e-3, "img_size": 32})
    Unfinished(here / name).begin(asdict(request) | {"folder": str(here)})


def test_damaged_requests_are_refused(here, photos, capsys):
    unfinished(here, photos)
    for text in ("{", "[]", '{"schema": 99}'):
        Path("run.unfinished/request.json").write_text(text)
        assert main(["resume", "run"]) == 2
        assert "damaged" in capsys.readouterr().err


def test_two_processes_do_not_train_one_run(here, photos):
    unfinished(here, photos)
    with Unfinished("run"), pytest.raises(RunError, match="Another process"):
        finetune.train.resume("run")


def test_numbers_of_unfinished_runs_are_not_given_away(here, photos):
    unfinished(here / "runs", photos, "photos-probe-001") if (here / "runs").mkdir() is None else None
    assert finetune.fit(photos).path.name == "photos-probe-002"
