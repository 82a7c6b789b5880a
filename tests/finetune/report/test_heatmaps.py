"""Heat maps: exact where they claim to be, bright where the reason is, and drawn as they were computed."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import Zoo
from PIL import Image
from samples import clouds

from finetune.heads.constant import Constant
from finetune.heads.head import Head
from finetune.heads.kernel import Kernel
from finetune.heads.knn import Neighbours
from finetune.heads.linear import Linear
from finetune.heads.mlp import ACTIVATIONS, MLP
from finetune.report.heatmaps import contributions, heat_maps, overlay, position_maps
from zoo.engines import openvino_engine
from zoo.engines.torch_maps import TorchMaps
from zoo.features.spaces import BackboneSpace, RawPixels

CLASSES = np.array([2, 0, 1])


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def linear(width, c=3):
    rng = np.random.default_rng(1)
    return Linear(rng.normal(size=(c, width)).astype(np.float32), rng.normal(size=c).astype(np.float32))


def predictor(backbone, features="last", head=None):
    space = BackboneSpace(backbone, "torch", features=features)
    return SimpleNamespace(space=space, mirrored=False, head=head or linear(space.width))


@pytest.mark.parametrize("features", ["last", "stages", ["stages.1:max", "last"]])
def test_the_mean_of_an_exact_map_is_the_score(zoo, pixels, features):
    made = predictor(zoo("test_resnet"), features)
    maps, exact = contributions(made, pixels, CLASSES)
    assert exact
    X = TorchMaps(made.space.backbone, tuple(made.space.taps.values()), pixels).features
    scores = X @ made.head.W.T
    expected = (scores - scores.mean(axis=1, keepdims=True))[np.arange(3), CLASSES]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), expected, rtol=1e-3, atol=1e-3)


def test_where_mirror_images_count_too_the_map_is_the_mean_of_both(zoo, pixels):
    plain = predictor(zoo("test_resnet"))
    made = SimpleNamespace(space=plain.space, mirrored=True, head=plain.head)
    both, exact = contributions(made, pixels, CLASSES)
    assert exact
    there, _ = contributions(plain, pixels, CLASSES)
    back, _ = contributions(plain, np.ascontiguousarray(pixels[:, :, ::-1]), CLASSES)
    np.testing.assert_allclose(both, (there + back[:, :, ::-1]) / 2, rtol=1e-3, atol=1e-3)


def test_features_are_those_that_the_head_is_given(zoo, pixels):
    backbone = zoo("test_resnet")
    space = BackboneSpace(backbone, "torch", features="stages")
    maps = TorchMaps(backbone, tuple(space.taps.values()), pixels)
    batch = np.zeros((32, *pixels.shape[1:]), np.uint8)
    batch[:3] = pixels
    np.testing.assert_allclose(maps.features, space.run(batch)[:3], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["test_convnext", "test_efficientnet", "test_byobnet", "test_nfnet"])
def test_every_kind_of_network_has_maps(zoo, pixels, architecture):
    maps, _ = contributions(predictor(zoo(architecture)), pixels, CLASSES)
    assert maps.shape[0] == 3
    assert np.isfinite(maps).all()
    assert maps.std() > 0


def test_what_is_no_average_or_no_linear_head_is_called_an_approximation(zoo, pixels):
    backbone = zoo("test_resnet")
    hidden = MLP.new("relu", backbone.num_features, 8, 3, 0)
    assert not contributions(predictor(backbone, head=hidden), pixels, CLASSES)[1]
    assert not contributions(predictor(zoo("test_convnext")), pixels, CLASSES)[1]  # normalised after pooling


def test_the_map_moves_with_what_it_shows(zoo):
    """A head that tells a bright left half from a bright right half lights up where the brightness is."""
    backbone = zoo("test_resnet")
    halves = np.zeros((2, 64, 64, 3), np.uint8)
    halves[0, :, :32] = halves[1, :, 32:] = 255
    grey = np.zeros((1, 64, 64, 3), np.uint8)
    space = BackboneSpace(backbone, "torch", features="stages.1")
    taps = tuple(space.taps.values())
    W = TorchMaps(backbone, taps, 255 - grey).features - TorchMaps(backbone, taps, grey).features
    head = Linear(np.concatenate([W, -W]), np.zeros(2, np.float32))
    maps, _ = contributions(SimpleNamespace(space=space, mirrored=False, head=head), halves, np.array([0, 0]))
    left, right = maps[:, :, : maps.shape[2] // 2].mean((1, 2)), maps[:, :, maps.shape[2] // 2 :].mean((1, 2))
    assert left[0] > right[0]
    assert right[1] > left[1]


@pytest.mark.parametrize("features", ["last", ["stages.1:avg", "stages.1:max"]])
def test_the_converted_network_gives_the_same_maps(zoo, pixels, features):
    pytest.importorskip("openvino")
    backbone = zoo("test_resnet")
    taps = tuple(BackboneSpace(backbone, "torch", features=features).taps.values())
    openvino_engine.make(backbone, "fp32", taps)  # one converted network for both
    fast, slow = position_maps(backbone, taps, pixels), TorchMaps(backbone, taps, pixels)
    assert type(fast) is not TorchMaps
    np.testing.assert_allclose(fast.features, slow.features, rtol=1e-3, atol=1e-4)
    weights = np.random.default_rng(2).normal(size=fast.features.shape)
    for a, b in zip(fast.contributions(weights), slow.contributions(weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2 * np.abs(b).max())


def test_what_is_not_converted_or_not_averaged_is_left_to_torch(zoo, pixels):
    pytest.importorskip("openvino")
    taps = tuple(BackboneSpace(zoo("test_convnext"), "torch").taps.values())
    assert type(position_maps(zoo("test_convnext"), taps, pixels)) is TorchMaps
    openvino_engine.make(zoo("test_convnext"), "fp32", taps)
    assert type(position_maps(zoo("test_convnext"), taps, pixels)) is TorchMaps


def heads():
    X, y = clouds(60, 5, 3)
    yield "linear", linear(5), X
    for name in ACTIVATIONS:
        yield name, MLP.new(name, 5, 7, 3, 0), X
    weights = np.random.default_rng(3).normal(size=(60, 3))
    yield "kernel", Kernel(X.mean(axis=0), X.std(axis=0), X / X.std(axis=0), weights, 9.0, 2.0), X
    yield "constant", Constant(np.zeros(3)), X
    yield "knn", Neighbours(X, y, 3, 5, "l2", "uniform"), X


HEADS = {name: (head, X) for name, head, X in heads()}


@pytest.mark.parametrize("name", [name for name in HEADS if name != "knn"])
def test_gradients_are_the_difference_quotients(name):
    head, X = HEADS[name]
    classes = np.arange(10) % 3
    expected = Head.gradient(head, X[:10], classes)
    got = head.gradient(X[:10], classes)
    # A corner of the function within a step makes a few of them differ.
    assert (np.abs(got - expected) < 1e-2 * (np.abs(expected).max() + 1)).mean() > 0.95


def test_nearest_neighbours_gradient_leads_to_the_class():
    head, X = HEADS["knn"]
    classes = np.full(20, 1)
    before = head.decision_function(X[:20])[:, 1]
    after = head.decision_function(X[:20] + 2 * head.gradient(X[:20], classes))[:, 1]
    assert (after >= before).mean() > 0.9
    assert after.mean() > before.mean()


def decoded(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_a_picture_is_bright_where_the_contribution_is():
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 5.0
    heat[3, 0] = -9.0  # what speaks against the class stays dark
    picture = np.asarray(decoded(overlay(np.full((64, 64, 3), 128, np.uint8), heat)).convert("L"), int)
    assert picture[:12, -12:].mean() > picture[-12:, :12].mean() + 60
    assert abs(picture[-12:, :12].mean() - picture[-12:, -12:].mean()) < 30


def test_a_map_of_nothing_is_drawn():
    assert decoded(overlay(np.zeros((64, 64, 3), np.uint8), np.zeros((2, 2)))).size == (64, 64)


def test_a_classifier_on_pixels_has_no_map(tmp_path):
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    made = SimpleNamespace(space=RawPixels(), mirrored=False, head=None)
    assert heat_maps(made, [tmp_path / "a.png"], np.array([0])) is None


def test_maps_leave_the_random_state_alone(zoo, pixels):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    contributions(predictor(zoo("test_resnet")), pixels, CLASSES)
    assert torch.equal(before, torch.get_rng_state())
