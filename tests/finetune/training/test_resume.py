"""A training may be stopped between any two updates, and continues to the same bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import DESCENT, small_job, small_network, task, with_
from photos import crops

from finetune.errors import RunError
from finetune.methods import make_method
from finetune.training import activations, parts, sources
from finetune.training.checkpoint import Checkpoint
from finetune.training.loop import train


class Stopped(Exception):
    """What stops a training in these tests."""


class StopsAfter:
    """A source that gives out so many batches."""

    def __init__(self, source, most):
        self.source, self.left = source, most

    def __len__(self):
        return len(self.source)

    def batch(self, rows, epoch):
        if epoch is not None:
            self.left -= 1
            if self.left < 0:
                raise Stopped
        return self.source.batch(rows, epoch)


OPTIONS = {
    "adamw": {"opt": "adamw"},
    "sgd, average": {"model_ema_decay": 0.9, "momentum": 0.9},
    "statistics": {"bn": "train", "batch_size": 6},
    "mixed": {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "sampling": "balanced"},
}


@pytest.mark.parametrize("more", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("after", [1, 4, 8])
def test_a_training_continues_between_any_two_updates(more, after, tmp_path):
    options = with_(DESCENT, **{"lr": 0.01, "epochs": 3, "batch_size": 4, **more})

    def go(checkpoint, stop=None):
        network = small_network()
        parts.freeze_all_but(network, parts.everything(network), options.bn)
        job = small_job(network)
        if stop:
            job.__dict__["source"] = StopsAfter(job.source, stop)
        outcome = train(job, np.arange(16), options, checkpoint, "", validation=np.arange(16, 20))
        return network.state_dict(), outcome

    path = tmp_path / "one.safetensors"
    straight, plain = go(Checkpoint())
    with pytest.raises(Stopped):
        go(Checkpoint(path, seconds=0), after)
    resumed, outcome = go(Checkpoint(path, seconds=0))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert untimed(outcome.log) == untimed(plain.log)
    assert all((a == b).all() for a, b in zip(outcome.scores, plain.scores, strict=True))
    again, _ = go(Checkpoint(path, seconds=0), stop=1)  # finished: no batch is asked for
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def untimed(log):
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in log]


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "one.safetensors")
    checkpoint.write({"x": torch.zeros(3)}, {"epoch": 1})

    def full_disk(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write({"x": torch.ones(3)}, {"epoch": 2})
    tensors, progress = checkpoint.read()
    assert progress == {"epoch": 1}
    np.testing.assert_array_equal(tensors["x"], 0)


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "one.safetensors"
    Checkpoint(path).write({"x": torch.zeros(300)}, {})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"one\.safetensors is damaged.*Delete this file"):
        Checkpoint(path).read()


# A whole fit


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=6)


@pytest.fixture(scope="module")
def backbone(small_networks):
    return small_networks("test_resnet")


METHODS = {
    "last-layers": {"num_views": 3, "mixup": 0.2},
    "full": {"initial_size": 32, "model_ema_decay": 0.9, "bn": "train"},
}


def fitted(name, backbone, photos, folder, result):
    method = make_method(name, lr=1e-3, epochs=2, batch_size=4, interpolate=False, **METHODS[name])
    found = method.fit(task(backbone, photos, checkpoints=folder), backbone)
    found.save(result)
    return (result / "model.safetensors").read_bytes(), found


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_that_is_stopped_again_and_again_ends_with_the_same_bytes(
    name, backbone, photos, tmp_path, monkeypatch
):
    """It continues on a machine with less free memory, which must change neither views nor sizes."""
    straight, plain = fitted(name, backbone, photos, tmp_path / "straight", tmp_path / "a")
    written = sum(len(list(folder.glob("*.safetensors"))) for folder in [tmp_path / "straight"])
    assert written == 3  # two folds and the final training
    stops, write = [], Checkpoint.write

    def interrupted(self, *given):
        write(self, *given)
        stops.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", interrupted)
    for module in (activations, sources):
        monkeypatch.setattr(module, "spare_memory", lambda: 0)
    while True:
        try:
            resumed, found = fitted(name, backbone, photos, tmp_path / "stopped", tmp_path / "b")
            break
        except KeyboardInterrupt:
            continue
    assert len(stops) == 6  # two epochs of three trainings
    assert resumed == straight
    assert found.choice == plain.choice
    assert untimed(found.history) == untimed(plain.history)


def test_the_task_of_some_images_does_not_continue_from_checkpoints_of_all(backbone, photos, tmp_path):
    given = task(backbone, photos, checkpoints=tmp_path)
    assert given.within(np.arange(4, 12), 2).checkpoints is None
