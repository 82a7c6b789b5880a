"""int8: close to float32 where it is offered, refused where it is not."""

import numpy as np
import pytest

from zoo.engines import EngineError, build, choice, contract, openvino_engine
from zoo.engines.contract import installed
from zoo.engines.int8 import CLOSE_INT8, quantise
from zoo.engines.machine import has_int8
from zoo.engines.photographs import calibration_photographs, photographs
from zoo.engines.precisions import worst_cosine
from zoo.features.spaces import BackboneSpace

pytestmark = pytest.mark.skipif(
    not (installed("openvino") and has_int8()), reason="no int8 arithmetic here, or no OpenVINO"
)


@pytest.fixture(scope="module")
def small(random_backbone):
    """A network of which int8 loses little."""
    return random_backbone("test_resnet")


@pytest.fixture(scope="module")
def int8(small):
    return build(small, "auto", "int8")


def quantised(kernels, pixels):
    """A network of one convolution over 3 channels, before and after quantising."""
    import openvino
    from openvino import opset13

    def made():
        given = opset13.parameter([32, 8, 8, 3], np.uint8, name="pixels")
        images = opset13.transpose(opset13.convert(given, "f32"), opset13.constant([0, 3, 1, 2]))
        convolved = opset13.convolution(images, opset13.constant(kernels), [1, 1], [0, 0], [0, 0], [1, 1])
        return openvino.Model([opset13.result(opset13.relu(convolved))], [given])

    def run(network):
        compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return compiled(pixels)[0]

    network = made()
    quantise(network, None, pixels)
    return run(made()), run(network), [node.get_type_name() for node in network.get_ordered_ops()]


def test_int8_is_close_and_says_how_close(small, int8):
    pixels = photographs(small.preprocess)
    wanted = build(small, "openvino")(pixels)
    got = int8(pixels)
    assert (int8.name, int8.precision) == ("openvino", "int8")
    assert int8.cosine == pytest.approx(worst_cosine([got], [wanted]), abs=1e-6)
    assert CLOSE_INT8 <= int8.cosine < 0.99999  # Were it closer, nothing would be in 8 bits.


def test_features_depend_on_the_image_alone(small, int8):
    pixels = photographs(small.preprocess)
    once = int8(pixels)
    other = build(small, "openvino", "int8")
    other(pixels[::-1].copy() // 2)
    assert np.array_equal(other(pixels[::-1].copy()), once[::-1])


def test_ranges_are_taken_from_other_pictures_than_it_is_judged_by(small):
    seen = {pixels.tobytes() for pixels in photographs(small.preprocess)}
    assert not seen & {pixels.tobytes() for pixels in calibration_photographs(small.preprocess)}


def test_a_layer_keeps_its_mean_response():
    rng = np.random.default_rng(0)
    # Pixels that are much alike, and kernels of which most weights lie between two of 255 levels.
    pixels = rng.integers(180, 220, (32, 8, 8, 3)).astype(np.uint8)
    kernels = (rng.uniform(0.003, 0.004, (4, 3, 3, 3)) * 0.9).astype(np.float32)
    kernels[:, 0, 0, 0] = 1
    wanted, got, operations = quantised(kernels, pixels)
    assert operations.count("FakeQuantize") == 2
    assert np.abs(got - wanted).max() > 0
    naive = np.einsum("oc,c->o", (np.round(kernels * 127) / 127 - kernels).sum((2, 3)), np.full(3, 200.0))
    assert np.abs((got - wanted).mean((0, 2, 3))).max() < np.abs(naive).max() / 20


@pytest.mark.slow
def test_what_stays_float32_does(backbone, empty_cache):
    build(backbone, "openvino")
    folder = next(path.parent for path in empty_cache.glob("*/graphs/*/graph.xml"))
    counts = []
    for cut in (0, 1):
        network = openvino_engine._read(folder)
        front = openvino_engine._until(network, [cut]) if cut else None
        whole = openvino_engine._until(network, [0])
        quantise(whole, front, calibration_photographs(backbone.preprocess))
        counts.append(sum(node.get_type_name() == "FakeQuantize" for node in whole.get_ops()))
    assert counts[0] == 2 * 49  # One for each layer's weights, one for what it is given.
    assert counts[1] == 2 * 46  # Without the stem, and the first stage's two.


def test_a_network_of_which_it_loses_too_much_is_refused(small, monkeypatch):
    monkeypatch.setattr(openvino_engine, "measured_cosine", lambda *_: 0.9)
    with pytest.raises(EngineError, match=r"int8 is too inexact for.* 0\.9000 .*precision bf16"):
        build(small, "openvino", "int8")


def test_a_processor_without_it(small, monkeypatch):
    monkeypatch.setattr(openvino_engine, "has_int8", lambda: False)
    with pytest.raises(EngineError, match="no int8 arithmetic"):
        build(small, "auto", "int8")


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_only_one_engine_has_it(small, engine):
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    with pytest.raises(EngineError, match=f"{engine} has no int8"):
        build(small, engine, "int8")


def test_without_that_engine(small, monkeypatch):
    monkeypatch.setattr(contract, "installed", lambda name: name == "torch")
    with pytest.raises(EngineError, match=r"not installed\. .*bf16"):
        build(small, "auto", "int8")


def test_auto_never_takes_it(small, monkeypatch):
    asked = []
    make = choice._make
    monkeypatch.setattr(choice, "_make", lambda *given: asked.append(given[2]) or make(*given))
    build(small, precision="auto")
    assert asked
    assert "int8" not in asked


def test_its_features_are_kept_apart(small):
    identities = [BackboneSpace(small, precision=p).identity for p in ("fp32", "int8")]
    assert identities[0] != identities[1]
    assert identities[1]["precision"] == "int8"


def test_bf16_is_not_mentioned(small):
    lines = []
    build(small, "auto", "int8", log=lines.append)
    assert lines == []


def test_convolutions_in_a_row_without_activations(random_backbone):
    """One's correction must not hide the next one's input."""
    assert CLOSE_INT8 <= build(random_backbone("test_efficientnet"), "openvino", "int8").cosine < 0.99999
