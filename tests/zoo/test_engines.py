"""Engines: all compute what timm does, and the fastest is found once."""

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch import nn
from zoo.engines.bf16 import CLOSE, cuts, worst_cosine
from zoo.engines.readout import UnknownLayerError
from zoo.engines.rounding import round_kernels

import zoo
from zoo.engines import BATCH, ENGINES, EngineError, Readout, build, choice
from zoo.engines.contract import installed
from zoo.engines.converted import _compare
from zoo.engines.fold import fold
from zoo.engines.graph import Graph, evaluate
from zoo.engines.machine import has_bf16
from zoo.engines.photographs import photographs
from zoo.errors import ZooError
from zoo.features.spaces import BackboneSpace

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"

# Small networks of other families with random weights, each with a quirk.
FAMILIES = {
    "test_resnet": "residual sums of convolutions' outputs",
    "mobilenetv3_small_050": "squeeze and excitation, a convolution after the pooling",
    "test_nfnet": "convolutions that standardise their own weights",
}


@pytest.fixture(scope="module")
def backbone():
    return zoo.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def random_backbone(tmp_path_factory):
    """Make a backbone of any of timm's architectures; its batch normalisations do something."""

    def make(architecture):
        torch.manual_seed(0)
        model = timm.create_model(architecture, pretrained=False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
        folder = tmp_path_factory.mktemp(architecture)
        save_for_hf(model, str(folder), safe_serialization=True)
        return zoo.load(f"local-dir:{folder}")

    return make


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


# What they compute


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_timms_features(backbone, expected, engine):
    available(engine)
    got = build(backbone, engine)(photographs(backbone.preprocess))
    assert got.dtype == np.float32
    assert got.shape == (BATCH, 1280)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_engine_runs_other_families(random_backbone, architecture):
    backbone = random_backbone(architecture)
    pixels = photographs(backbone.preprocess)
    wanted = by_timm(backbone, pixels)
    for engine in filter(installed, ENGINES):
        got = build(backbone, engine)(pixels)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max(), err_msg=engine)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "onnxruntime"])
def test_bf16_is_close_and_says_how_close(backbone, engine):
    available(engine)
    if not has_bf16():
        pytest.skip("no bf16 arithmetic here")
    pixels = photographs(backbone.preprocess)
    made = build(backbone, engine, "bf16")
    wanted = build(backbone, engine)(pixels)
    assert made.precision == "bf16"
    assert made.cosine == pytest.approx(worst_cosine(backbone, Readout(), made(pixels), wanted), abs=1e-6)
    assert CLOSE <= made.cosine < 0.999999


def test_an_engine_keeps_nothing_of_the_batch_before(backbone):
    pixels = photographs(backbone.preprocess)
    made = build(backbone)
    first = made(pixels)
    kept = first.copy()
    made(pixels[::-1].copy())
    assert np.array_equal(first, kept)
    assert np.array_equal(made(pixels), kept)


def test_photographs_are_real_and_all_different(backbone):
    pixels = photographs(backbone.preprocess)
    assert pixels.shape == (BATCH, 224, 224, 3)
    assert len({p.tobytes() for p in pixels}) == BATCH


def test_onnxruntime_has_no_bf16(backbone):
    available("onnxruntime")
    with pytest.raises(EngineError, match="no bf16"):
        build(backbone, "onnxruntime", "bf16")
    assert build(backbone, "onnxruntime", "auto").precision == "fp32"


@pytest.mark.parametrize("got", [np.ones((2, 3)), np.full((2, 4), 1.01), np.full((2, 4), np.nan)])
def test_a_graph_that_computes_something_else_is_refused(got):
    with pytest.raises(EngineError, match="differ from torch"):
        _compare(got.astype(np.float32), np.ones((2, 4), np.float32), "net", "openvino")


def test_converting_says_nothing(backbone, empty_cache, capfd):
    for engine in filter(installed, ENGINES):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(backbone, engine)
    assert capfd.readouterr() == ("", "")
    kept = sorted(path.name for path in empty_cache.glob("graphs/*/*"))
    assert kept == ["about.json", "about.json", "graph.bin", "graph.onnx", "graph.xml"]
    assert not list(empty_cache.glob("graphs/*.tmp"))


# Folding


class Awkward(nn.Module):
    """Four convolutions of which only the first may take in its normalisation."""

    def __init__(self):
        super().__init__()
        self.plain, self.n1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.used_twice, self.n2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.run_twice, self.n3 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.activated, self.n4 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.n1(self.plain(x))
        y = self.used_twice(x)
        x = self.n2(y) + y
        x = self.n3(self.run_twice(self.run_twice(x)))
        return self.n4(self.activated(x).relu())


def disturbed(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def test_only_what_can_be_folded_is():
    torch.manual_seed(0)
    network = disturbed(Awkward())
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        wanted = network(images)
    assert fold(network, images) == 1
    assert isinstance(network.n1, nn.Identity)
    assert not isinstance(network.n2, nn.Identity)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), wanted)


@pytest.mark.parametrize(
    ("architecture", "folded"),
    [("test_resnet", 15), ("test_efficientnet", 13), ("mobilenetv3_small_050", 34), ("test_convnext", 0)],
)
def test_folding_changes_nothing_but_rounding(random_backbone, architecture, folded):
    network = random_backbone(architecture).module.double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.double)
    ours = copy.deepcopy(network)
    assert fold(ours, images[:1]) == folded
    with torch.inference_mode():
        wanted = network(images)
        torch.testing.assert_close(ours(images), wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))


# Rounding


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


# Layers


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
        found["features"] = network(images)
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
    layers = ("stages.3", "features", "layer1")
    outputs = stage_outputs(backbone, pixels)
    wanted = {
        "stages.3": POOLING[pool](outputs["layer3"]).numpy(),
        "features": outputs["features"].numpy(),
        "layer1": POOLING[pool](outputs["layer1"]).numpy(),
    }
    # How a layer is pooled is the graph's business; once is enough for every engine to run such a graph.
    for engine in filter(installed, ENGINES if pool == "gem" else ["torch"]):
        space = BackboneSpace(backbone, engine, layers=layers, pool=pool)
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
    got = evaluate(Graph(backbone, names, "none").eval(), pixels)
    outputs = stage_outputs(backbone, pixels)
    wanted = np.concatenate([outputs[name].flatten(1).numpy() for name in names], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_modules_name_comes_before_a_stages_number(random_backbone):
    backbone = random_backbone("test_nfnet")
    assert [stage.name for stage in backbone.stages][:2] == ["stem.conv3", "stages.0"]
    assert Readout(("stages.0",)).stages(backbone) == [backbone.stages[1]]
    with pytest.raises(UnknownLayerError, match=r"among stem.conv3, stages.0, .*final_conv \(stages.4\)"):
        Readout.of(backbone, "stages.9")


def test_one_layer_may_be_named_as_it_is(backbone):
    assert BackboneSpace(backbone, layers="blocks.4").width == 112
    assert BackboneSpace(backbone, layers=["stages.0", "features"]).width == 16 + 1280
    assert BackboneSpace(backbone, layers="blocks.6", pool="none").width == 320 * 7 * 7


def test_layers_are_part_of_the_identity_only_where_they_differ(backbone):
    plain = BackboneSpace(backbone).identity
    assert BackboneSpace(backbone, layers="features").identity == plain
    assert BackboneSpace(backbone, "torch").identity == plain
    by_name, by_number = (BackboneSpace(backbone, layers=name).identity for name in ("blocks.4", "stages.3"))
    assert by_name == by_number == {**plain, "layers": ["blocks.4"], "pool": "avg"}
    assert BackboneSpace(backbone, layers="blocks.4", pool="max").identity != by_name


@pytest.mark.parametrize(
    ("layers", "pool", "words"),
    [
        ("blocks.9", "avg", r"no layer 'blocks.9'. Choose among blocks.0 \(stages.0\), .*, features"),
        ("stages.5", "avg", "no layer"),
        (["blocks.4", "stages.3"], "avg", "named twice"),
        ("blocks.4", "median", "no pooling 'median'. Choose one of avg, max, gem, none"),
        ((), "max", "none is named"),
    ],
)
def test_unknown_layers_and_poolings(backbone, layers, pool, words):
    with pytest.raises(UnknownLayerError, match=words) as caught:
        BackboneSpace(backbone, layers=layers, pool=pool)
    assert isinstance(caught.value, ZooError)


def test_bf16_never_begins_after_what_is_read(backbone):
    assert cuts(backbone, Readout()) == ["blocks.0", "blocks.1", "blocks.2"]
    assert cuts(backbone, Readout(("features", "stages.1"))) == ["blocks.0", "blocks.1"]


def test_bf16_of_early_and_late_layers_together(backbone):
    engine = "openvino"
    available(engine)
    if not has_bf16():
        pytest.skip("no bf16 arithmetic here")
    readout = Readout.of(backbone, ("stages.1", "features"))
    pixels = photographs(backbone.preprocess)
    wanted = build(backbone, engine, readout=readout)(pixels)
    made = build(backbone, engine, "bf16", readout=readout)
    assert worst_cosine(backbone, readout, made(pixels), wanted) == pytest.approx(made.cosine, abs=1e-6)
    assert made.cosine > 0.999


# Choosing


class Fake:
    """An engine that takes the time it is said to."""

    cosine = 1.0

    def __init__(self, name, precision="fp32"):
        self.name, self.precision = name, precision

    def __call__(self, batch):
        return np.zeros((len(batch), 1280), np.float32)


@pytest.fixture
def speeds(monkeypatch, empty_cache, backbone):
    """Engines of known speed: seconds a batch by name. Counts how often they are timed."""
    seconds = {"openvino": 3.0, "onnxruntime": 1.0, "torch": 2.0}
    timed = []

    def take(engine, pixels, hopeless=None):
        timed.append(engine.name)
        return seconds[engine.name]

    monkeypatch.setattr(choice, "_make", lambda name, backbone, precision, readout: Fake(name, precision))
    monkeypatch.setattr(choice, "_seconds", take)
    monkeypatch.setattr(choice, "BUDGET", 100.0)
    monkeypatch.setattr(choice, "installed", lambda name: True)
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    seconds["timed"] = timed
    return seconds


def test_the_fastest_is_found_once_and_remembered(backbone, speeds, empty_cache):
    said = []
    assert build(backbone, n_images=10_000, say=said.append).name == "onnxruntime"
    assert speeds["timed"] == ["openvino", "onnxruntime", "torch"]
    assert said == ["onnxruntime runs efficientnet_lite0 fastest here: 32 images/s (openvino 11, torch 16)."]
    said.clear()
    for n_images in (None, 3, 10_000):
        assert build(backbone, n_images=n_images, say=said.append).name == "onnxruntime"
    assert len(speeds["timed"]) == 3
    assert said == []
    (note,) = empty_cache.glob("engines/*.json")
    assert json.loads(note.read_text())["finding"]["engine"] == "onnxruntime"
    assert {"processor", "cores", "torch", "tensors_sha256"} <= set(json.loads(note.read_text())["subject"])


def test_a_damaged_note_is_found_out_again(backbone, speeds, empty_cache):
    build(backbone, n_images=10_000)
    (note,) = empty_cache.glob("engines/*.json")
    for damage in ("", "[]", '{"subject": {}}', note.read_text()[:50]):
        note.write_text(damage)
        assert build(backbone, n_images=10_000).name == "onnxruntime"
    assert speeds["timed"].count("openvino") == 5


def test_other_versions_and_other_sizes_are_other_questions(backbone, speeds, monkeypatch):
    build(backbone, n_images=10_000)
    speeds["openvino"] = 0.5
    build(backbone, n_images=10_000)
    assert len(speeds["timed"]) == 3
    monkeypatch.setattr(choice, "versions", lambda *packages: {"openvino": "9999"})
    assert build(backbone, n_images=100_000).name == "openvino"


def test_small_jobs_are_not_timed(backbone, speeds):
    said = []
    assert build(backbone, say=said.append).name == "openvino"
    assert speeds["timed"] == []
    assert build(backbone, n_images=64, say=said.append).name == "openvino"
    assert speeds["timed"] == ["openvino"]
    assert said == []


def test_a_gpu_is_not_compared_with_the_processor(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert build(backbone, n_images=10**6).name == "torch"
    assert speeds["timed"] == []


@pytest.fixture
def failing(monkeypatch):
    """Let engines fail that are named."""
    real = choice._make

    def fail(*names):
        def make(name, backbone, precision, readout):
            if name in names:
                raise EngineError(f"{name} broke.", "Use another.")
            return real(name, backbone, precision, readout)

        monkeypatch.setattr(choice, "_make", make)

    return fail


def test_an_engine_that_fails_costs_one_line(backbone, failing):
    said = []
    failing("openvino", "onnxruntime")
    assert build(backbone, say=said.append).name == "torch"
    expected = [name for name in ("openvino", "onnxruntime") if installed(name)]
    assert said == [
        f"{name} cannot run efficientnet_lite0, trying the next engine: {name} broke." for name in expected
    ]
    with pytest.raises(EngineError, match="onnxruntime broke"):
        build(backbone, "onnxruntime")
    failing(*ENGINES)
    with pytest.raises(EngineError, match="torch broke"):
        build(backbone)


def test_a_remembered_engine_may_fail_later(backbone, speeds, monkeypatch):
    build(backbone, n_images=10_000)
    fake = choice._make

    def make(name, *rest):
        if name == "onnxruntime":
            raise EngineError("onnxruntime broke.", "Use another.")
        return fake(name, *rest)

    monkeypatch.setattr(choice, "_make", make)
    said = []
    assert build(backbone, say=said.append).name == "openvino"
    assert len(said) == 1


def test_an_engine_that_is_not_installed_is_passed_over(backbone, monkeypatch):
    monkeypatch.setattr(choice, "installed", lambda name: name == "torch")
    said = []
    assert build(backbone, say=said.append).name == "torch"
    assert said == []


# Precision auto


def test_precision_auto_is_settled_once(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: True)
    space = BackboneSpace(backbone, precision="auto")
    assert space.identity["precision"] == "bf16"
    monkeypatch.setattr(choice, "_make", None)  # nothing is made to answer it again
    again = BackboneSpace(backbone, precision="auto")
    assert again.identity == space.identity == BackboneSpace(backbone, precision="bf16").identity


def test_precision_auto_stays_fp32_where_bf16_is_coarse(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: True)
    monkeypatch.setattr(Fake, "cosine", property(lambda self: 0.99 if self.precision == "bf16" else 1.0))
    assert BackboneSpace(backbone, precision="auto").identity == BackboneSpace(backbone).identity
    said = []
    assert build(backbone, precision="bf16", say=said.append).precision == "bf16"  # asked for, so given
    assert said == ["bf16 is coarse for efficientnet_lite0: cosine with fp32 0.9900 at worst."]


def test_precision_auto_stays_fp32_without_bf16_arithmetic(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: False)
    assert build(backbone, precision="auto").precision == "fp32"
    assert speeds["timed"] == []
