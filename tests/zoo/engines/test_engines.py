"""Engines: all compute what timm does."""

import warnings

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from zoo.engines import BATCH, ENGINES, EngineError, build
from zoo.engines.contract import installed
from zoo.engines.converted import _compare
from zoo.engines.photographs import photographs

# Small networks of other families with random weights, each with a quirk.
FAMILIES = {
    "test_resnet": "residual sums of convolutions' outputs",
    "mobilenetv3_small_050": "squeeze and excitation, a convolution after the pooling",
    "test_nfnet": "convolutions that standardise their own weights",
}


@pytest.fixture(scope="module")
def expected(backbone):
    return by_timm(backbone, photographs(backbone.preprocess))


def available(engine):
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")


def by_timm(backbone, pixels):
    """What timm's own transform and network make of pixels that are already cropped."""
    config = timm.data.resolve_data_config(backbone.config["pretrained_cfg"])
    transform = timm.data.create_transform(**{**config, "crop_pct": 1.0}, is_training=False)
    with torch.inference_mode():
        return backbone.module(torch.stack([transform(Image.fromarray(p)) for p in pixels])).numpy()


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.slow if name != "openvino" else []) for name in ENGINES]
)
def test_every_engine_gives_timms_features(backbone, expected, engine):
    available(engine)
    got = build(backbone, engine)(photographs(backbone.preprocess))
    assert got.dtype == np.float32
    assert got.shape == (BATCH, 1280)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "architecture",
    ["test_resnet", *(pytest.param(name, marks=pytest.mark.slow) for name in list(FAMILIES)[1:])],
)
def test_every_engine_runs_other_families(random_backbone, architecture):
    backbone = random_backbone(architecture)
    pixels = photographs(backbone.preprocess)
    wanted = by_timm(backbone, pixels)
    for engine in filter(installed, ENGINES):
        got = build(backbone, engine)(pixels)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max(), err_msg=engine)


def test_an_engine_keeps_nothing_of_the_batch_before(tiny):
    pixels = photographs(tiny.preprocess)
    made = build(tiny)
    first = made(pixels)
    kept = first.copy()
    made(pixels[::-1].copy())
    assert np.array_equal(first, kept)
    assert np.array_equal(made(pixels), kept)


def test_photographs_are_real_and_all_different(backbone):
    pixels = photographs(backbone.preprocess)
    assert pixels.shape == (BATCH, 224, 224, 3)
    assert len({p.tobytes() for p in pixels}) == BATCH


@pytest.mark.parametrize("got", [np.ones((2, 3)), np.full((2, 4), 1.01), np.full((2, 4), np.nan)])
def test_a_graph_that_computes_something_else_is_refused(got):
    with pytest.raises(EngineError, match="differ from torch"):
        _compare(got.astype(np.float32), np.ones((2, 4), np.float32), "net", "openvino")


def test_converting_says_nothing(tiny, empty_cache, capfd):
    for engine in filter(installed, ENGINES):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(tiny, engine)
    assert capfd.readouterr() == ("", "")
    kept = sorted(path.name for path in empty_cache.glob("*/graphs/*/*"))
    assert kept == ["about.json", "about.json", "graph.bin", "graph.onnx", "graph.xml"]
    assert not list(empty_cache.glob("*/graphs/.*"))
