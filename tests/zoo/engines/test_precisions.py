"""bf16: close to float32, as close as it says, and the same whatever else is read."""

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engines import ENGINES, LAST, EngineError, build, taps_of
from zoo.engines.contract import installed, offers
from zoo.engines.machine import has_bf16
from zoo.engines.photographs import photographs
from zoo.engines.precisions import CLOSE, cuts, round_kernels, worst_cosine

WITH_BF16 = [name for name in ENGINES if offers(name, "bf16") and installed(name)]
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16 arithmetic")


def test_rounding_keeps_the_sum_of_a_kernel():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    before = [module.weight.clone() for module in network]
    round_kernels(network)
    for weight, module in zip(before, network, strict=True):
        after = module.weight
        assert torch.equal(after, after.bfloat16().float())
        assert (after - weight).abs().max() <= 2**-7 * weight.abs().max()
        if weight[0, 0].numel() > 1:
            nearest = weight.bfloat16().float()
            lost, would_be = ((w - weight).sum((2, 3)).abs().max() for w in (after, nearest))
            assert lost < would_be / 3
    assert torch.equal(network[2].weight, before[2].bfloat16().float())  # one position: to nearest


@needs_bf16
@pytest.mark.parametrize("engine", WITH_BF16)
def test_bf16_is_as_close_as_it_says(tiny, engine):
    pixels = photographs(tiny.preprocess)
    made = build(tiny, engine, "bf16")
    assert made.precision == "bf16"
    assert made.cosine == pytest.approx(worst_cosine([made(pixels)], [build(tiny, engine)(pixels)]), abs=1e-6)
    assert CLOSE <= made.cosine < 0.999999


@needs_bf16
@pytest.mark.slow
@pytest.mark.parametrize("engine", WITH_BF16)
def test_a_network_that_needs_early_stages_in_float32_is_close(backbone, engine):
    pixels = photographs(backbone.preprocess)
    made = build(backbone, engine, "bf16")
    assert made.cosine == pytest.approx(
        worst_cosine([made(pixels)], [build(backbone, engine)(pixels)]), abs=1e-6
    )
    assert CLOSE <= made.cosine < 0.999999


@needs_bf16
@pytest.mark.parametrize("cut", [1, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (0, 3))])
@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.slow if name != "torch" else []) for name in WITH_BF16]
)
def test_features_do_not_depend_on_what_else_is_read(tiny, engine, cut, monkeypatch):
    """Wherever the network is divided, between the taps or before them."""
    monkeypatch.setattr(f"zoo.engines.{engine}_engine.least_cut", lambda *_: cut)
    pixels = photographs(tiny.preprocess)
    taps = taps_of(tiny, "stages")
    together = build(tiny, engine, "bf16", taps=tuple(taps.values()))(pixels)
    last, early = build(tiny, engine, "bf16"), build(tiny, engine, "bf16", taps=[taps["blocks.0:max"]])
    assert worst_cosine([last(pixels)], [together[:, :256]]) > 0.99999
    assert worst_cosine([early(pixels)], [together[:, 256 + 16 : 256 + 32]]) > 0.99999
    assert early(pixels).shape == (32, 16)


def test_only_early_stages_may_stay_float32(backbone):
    assert cuts(backbone) == ["blocks.0", "blocks.1", "blocks.2"]


@pytest.mark.skipif(not installed("onnxruntime"), reason="onnxruntime is not installed")
def test_onnxruntime_has_no_bf16(tiny):
    with pytest.raises(EngineError, match="no bf16"):
        build(tiny, "onnxruntime", "bf16")
    assert build(tiny, "onnxruntime", "auto").precision == "fp32"


def test_cosines_are_those_of_the_worst_row_and_array():
    rows = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    turned = np.array([[1.0, 1.0], [0.0, 1.0]], np.float32)
    assert worst_cosine([rows, rows], [rows, turned]) == pytest.approx(np.sqrt(0.5))
    assert worst_cosine([rows], [0 * rows]) == 1.0  # nothing to compare
    assert LAST.identity == {}
