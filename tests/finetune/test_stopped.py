"""A training may be stopped between any two updates; what is left behind is looked at before it is used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import small_job, small_network
from test_train import crops

import finetune
from finetune.cli.app import main
from finetune.errors import RunError
from finetune.runs import Unfinished
from finetune.training import parts
from finetune.training.checkpoint import Leg
from finetune.training.loop import train
from finetune.training.recipe import Recipe


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


def unfinished(here, photos, name="run"):
    """What a process that was killed in its first epoch leaves."""
    asked = {"data": str(photos), "model": "efficientnet_lite0", "strategy": "full", "seed": 0}
    asked |= {"strict": False, "engine": "auto", "precision": "fp32", "folder": str(here)}
    Unfinished(here / name).begin(asked | {"options": {"epochs": 1, "rate": 1e-3, "size": 32}})


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
