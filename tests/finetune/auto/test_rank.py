"""``finetune rank``: the network that serves the images comes first, and a useless one is left out."""

import json

import pytest
from networks import Zoo
from photos import tiles

from finetune.auto import rank as module
from finetune.auto.rank import rank
from finetune.cli.app import main
from finetune.errors import OptionError
from finetune.experiment import Request
from zoo.errors import UnknownModelError


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    made = Zoo(tmp_path_factory.mktemp("networks"))
    return [f"local-dir:{made(name).folder}" for name in ("test_resnet", "test_efficientnet")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiles(tmp_path_factory.mktemp("data") / "photos", n=30)


def test_networks_are_ranked_on_training_images(photos, networks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "FEWEST", 12)
    command = ["rank", "--data", str(photos), "--engine", "torch", "--models", *networks, "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    first, second = found["networks"]
    assert first["status"] == "best"
    assert found["best"] == first["name"]
    assert first["n_images"] == found["n_train"] == 48
    assert second["n_images"] in (12, 24, 48)
    assert (second["status"] == "behind") == (second["n_images"] < 48) or second["n_images"] == 48
    for row in found["networks"]:
        assert row["ci95"][0] <= row["accuracy"] <= row["ci95"][1]
        assert row["gmacs"] > 0


def test_nothing_to_rank(photos, tmp_path):
    with pytest.raises(OptionError, match="no network"):
        rank(Request(str(photos)), [])
    with pytest.raises(UnknownModelError):
        rank(Request(str(photos)), [f"local-dir:{tmp_path}"])
