"""Trainings of a real network, and what its arithmetic asks for."""

import dataclasses
import math

import numpy as np
import pytest
import timm
import torch
from networks import Zoo, small_job, small_network
from PIL import Image
from photos import crops
from torch import nn

import finetune
import zoo
from finetune.errors import OptionError
from finetune.training import parts
from finetune.training.activations import TorchFront, ViewSpace, activations, front
from finetune.training.augment import Augment
from finetune.training.checkpoint import Checkpoint
from finetune.training.cut import cut
from finetune.training.loop import _chunks, train
from finetune.training.network import build, depthwise_in_fp32
from finetune.training.settings import TrainingOptions
from finetune.training.sources import Activations
from finetune.training.team import Team


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=10)


def test_an_engine_computes_what_the_frozen_part_does(photos):
    before = zoo.load("efficientnet_lite0")
    network = build(before, 2, 0)
    parts.freeze_all_but(network, parts.last_stages(network, 1), "frozen")
    divided = cut(network, before.preprocess.input_size)
    assert divided.module == "blocks.5"
    paths = sorted(photos.rglob("*.png"))[:3]
    by_engine = front(before, divided, "auto", "fp32", print)
    assert not isinstance(by_engine, TorchFront)
    for number, augment in ((0, None), (1, Augment.from_level("light"))):
        one, two = (
            activations(paths, [ViewSpace(f, before.preprocess.input_size, augment, number, 0)])[0]
            for f in (by_engine, TorchFront(before, divided))
        )
        assert np.abs(one - two).max() < 2e-2 * np.abs(two).max()


def test_a_last_batch_of_one_joins_the_one_before():
    network = small_network()
    parts.freeze_all_but(network, parts.everything(network), "train")
    recipe = Recipe(rate=0.01, epochs=2, batch=8, bn="train")
    assert [len(chunk) for chunk in _chunks(np.arange(17), recipe, Team())] == [8, 9]
    frozen = with_(recipe, bn="frozen")
    assert [len(chunk) for chunk in _chunks(np.arange(17), frozen, Team())] == [8, 8, 1]
    outcome = train(small_job(network, 17), np.arange(17), recipe, Checkpoint(), "")
    assert all(math.isfinite(line["loss"]) for line in outcome.log)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_rows_begin_with_different_views_and_see_all():
    views = [np.full((5, 4), number, np.float32) for number in range(3)]
    source = Activations(views, (4, 1, 1), 0)
    seen = np.stack([source.batch(np.arange(5), epoch)[:, 0, 0, 0].numpy() for epoch in range(3)])
    assert (np.sort(seen, axis=0) == np.arange(3)[:, None]).all()
    assert (source.batch(np.arange(5), None) == 0).all()


@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_one_seed_one_result_and_timm_reads_it(strategy, photos, tmp_path):
    more = {"size": 64} if strategy == "full" else {"views": 2}
    runs = [
        finetune.fit(photos, strategy=strategy, seed=seed, out=tmp_path / name, epochs=1, rate=1e-3, **more)
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    ]
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]
    assert len((runs[0].path / "metrics.jsonl").read_text().splitlines()) == 1
    paths = sorted(photos.rglob("*.png"))[:4]
    model = timm.create_model(f"local-dir:{runs[0].path / 'model'}", pretrained=True).eval()
    config = timm.data.resolve_data_config(model.pretrained_cfg)
    assert config["input_size"] == ((3, 64, 64) if strategy == "full" else (3, 224, 224))
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        logits = model(torch.stack([transform(Image.open(path)) for path in paths])).numpy()
    np.testing.assert_allclose(finetune.load(runs[0].path).logits(paths), logits, atol=2e-3)


def test_recipes_refuse_what_is_not_a_number():
    for field in ("rate", "momentum", "weight_decay", "warmup", "smoothing", "mixup", "ema"):
        with pytest.raises(OptionError):
            Recipe(**{"rate": 0.1, "epochs": 1, field: math.nan})


def test_depthwise_convolutions_stay_fp32_under_autocast(tmp_path, monkeypatch):
    network = build(Zoo(tmp_path)("test_efficientnet"), 2, 0)
    seen, x = set(), torch.randn(2, 3, 64, 64)

    def computes(self, given, weight, bias):
        out = plain(self, given, weight, bias)
        seen.add((self.groups > 1, out.dtype))
        return out

    plain = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", computes)
    with depthwise_in_fp32(network), torch.autocast("cpu", torch.bfloat16):
        out = network(x)
        assert torch.is_autocast_enabled("cpu")
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    assert torch.isfinite(out).all()
    assert not any(module._forward_pre_hooks for module in network.modules())
