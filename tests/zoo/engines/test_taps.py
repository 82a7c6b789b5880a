"""Taps: which features are read, alike by every engine, in one pass."""

import numpy as np
import pytest
import torch

from zoo.engines import BATCH, ENGINES, LAST, UnknownLayerError, build, taps_of
from zoo.engines.contract import installed
from zoo.engines.graph import Graph, evaluate
from zoo.engines.photographs import photographs
from zoo.errors import ZooError
from zoo.features.spaces import BackboneSpace


def stage_outputs(backbone, pixels):
    """Outputs of all stages, from hooks of our own, and the headless network's."""
    network, found = backbone.module, {}
    handles = [
        network.get_submodule(s.name).register_forward_hook(
            lambda module, given, output, name=s.name: found.__setitem__(name, output.clone())
        )
        for s in backbone.stages
    ]
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (backbone.preprocess.mean, backbone.preprocess.std)
    )
    with torch.inference_mode():
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        found["last"] = network(images)
    for handle in handles:
        handle.remove()
    return found


POOLING = {
    "avg": lambda maps: maps.mean((2, 3)),
    "max": lambda maps: maps.amax((2, 3)),
    "gem": lambda maps: maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
    "none": lambda maps: maps.flatten(1),
}


@pytest.mark.parametrize("pool", POOLING)
def test_layers_are_the_stages_pooled(random_backbone, pool):
    backbone = random_backbone("test_resnet")
    pixels = photographs(backbone.preprocess)
    layers = ("stages.3", "last", "layer1")
    outputs = stage_outputs(backbone, pixels)
    wanted = {
        "stages.3": POOLING[pool](outputs["layer3"]).numpy(),
        "last": outputs["last"].numpy(),
        "layer1": POOLING[pool](outputs["layer1"]).numpy(),
    }
    # How a layer is pooled is the graph's business; once is enough for every engine to run such a graph.
    for engine in filter(installed, ENGINES if pool == "gem" else ["torch"]):
        space = BackboneSpace(backbone, engine, features=layers, pool=pool)
        X = space.run(pixels)
        assert X.shape == (BATCH, space.width)
        got = space.split(X)
        assert list(got) == list(layers)
        for layer in layers:
            scale = np.abs(wanted[layer]).max()
            np.testing.assert_allclose(got[layer], wanted[layer], rtol=0, atol=2e-5 * scale, err_msg=engine)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_nfnet"])
def test_every_stage_of_other_families_can_be_read(random_backbone, architecture):
    backbone = random_backbone(architecture)
    pixels = photographs(backbone.preprocess)[:2]
    names = [stage.name for stage in backbone.stages]
    taps = list(taps_of(backbone, names, "none").values())
    got = np.concatenate(evaluate(Graph(backbone, taps).eval(), pixels), axis=1)
    outputs = stage_outputs(backbone, pixels)
    wanted = np.concatenate([outputs[name].flatten(1).numpy() for name in names], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_modules_name_comes_before_a_stages_number(random_backbone):
    backbone = random_backbone("test_nfnet")
    assert [stage.name for stage in backbone.stages][:2] == ["stem.conv3", "stages.0"]
    assert taps_of(backbone, "stages.0")["stages.0"].stage == backbone.stages[1]
    with pytest.raises(UnknownLayerError, match=r"from stem.conv3, stages.0, .*final_conv \(stages.4\)"):
        taps_of(backbone, "stages.9")


def test_one_layer_may_be_named_as_it_is(backbone):
    assert BackboneSpace(backbone, features="blocks.4").width == 112
    assert BackboneSpace(backbone, features=["stages.0", "last"]).width == 16 + 1280
    assert BackboneSpace(backbone, features="blocks.6", pool="none").width == 320 * 7 * 7


def test_layers_are_part_of_the_identity_only_where_they_differ(backbone):
    plain = BackboneSpace(backbone).identity
    assert BackboneSpace(backbone, features="last").identity == plain
    assert BackboneSpace(backbone, "torch").identity == plain
    by_name, by_number = (
        BackboneSpace(backbone, features=name).identity for name in ("blocks.4", "stages.3")
    )
    assert by_name == by_number == {**plain, "layers": ["blocks.4"], "pool": "avg"}
    assert BackboneSpace(backbone, features="blocks.4", pool="max").identity != by_name


@pytest.mark.parametrize(
    ("layers", "pool", "words"),
    [
        ("blocks.9", "avg", r"no layer 'blocks.9'. Choose from blocks.0 \(stages.0\), .*, last"),
        ("stages.5", "avg", "no layer"),
        (["blocks.4", "stages.3"], "avg", "named twice"),
        ("blocks.4", "median", "no pooling 'median'. Choose from avg, max, gem, none"),
        ("last", "max", "none is named"),
        ("blocks.4:median", "avg", "no pooling"),
        (["blocks.4", "stages.3:avg"], "avg", "named twice"),
    ],
)
def test_unknown_layers_and_poolings(backbone, layers, pool, words):
    with pytest.raises(UnknownLayerError, match=words) as caught:
        BackboneSpace(backbone, features=layers, pool=pool)
    assert isinstance(caught.value, ZooError)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_stages_in_one_pass_equal_separate_passes(tiny, engine):
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    pixels = photographs(tiny.preprocess)
    taps = taps_of(tiny, "stages")
    assert list(taps)[:3] == ["last", "blocks.0:avg", "blocks.0:max"]
    assert len(taps) == 1 + 2 * len(tiny.stages)
    together = BackboneSpace(tiny, engine, features="stages").split(
        build(tiny, engine, taps=tuple(taps.values()))(pixels)
    )
    for name in ("last", "blocks.1:max"):
        alone = build(tiny, engine, taps=[taps[name]])(pixels)
        np.testing.assert_allclose(together[name], alone, rtol=0, atol=2e-6 * np.abs(alone).max())


def test_a_network_without_named_stages_has_its_last_features(tiny, monkeypatch):
    monkeypatch.setitem(tiny.config, "stages", [])
    lines = []
    space = BackboneSpace(tiny, features="stages", log=lines.append)
    assert list(space.taps.values()) == [LAST]
    assert len(lines) == 1
    assert "only its last features" in lines[0]
