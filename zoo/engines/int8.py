"""A network whose convolutions compute in 8-bit integers, on processors that have an instruction for it.

Weights are rounded symmetrically, each output channel by its own largest; activations by the range they have
on photographs that are always the same, so that features stay a function of network, preprocessing and image.
A rounded kernel's response is off by about the same for every image: the rounding errors times the mean input
of each channel, which those photographs tell, and that is subtracted again.

EfficientNet-Lite0's first depthwise convolution loses too much: with its stem and first stage in float32
the worst photograph's features had a cosine of 0.997 with those of float32, all in int8 0.96 (0.92 without
the subtraction). As with bf16 (:mod:`zoo.engines.precisions`), the fewest stages stay float32 that make it
close.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.engines.contract import BATCH

if TYPE_CHECKING:
    import openvino

__all__ = ["CLOSE_INT8", "quantise"]

#: Cosine with float32 that the worst photograph shall reach, of those that ranges are not taken from. At
#: 0.9971 there, the worst of 2,459 photographs of insects and hands had 0.992, and probes lost at most 0.2
#: points of accuracy.
CLOSE_INT8 = 0.995

# Axes over which the weights of one output channel extend.
_WITHIN = {"Convolution": (1, 2, 3), "GroupConvolution": (2, 3, 4)}

Array = NDArray[np.float32]


def quantise(network: "openvino.Model", front: "openvino.Model | None", pixels: NDArray[np.uint8]) -> None:
    """Make convolutions and matrix products compute in 8-bit integers, in place.

    `network` is in float32, for batches of `BATCH`; `front` is the part of it that stays float32; `pixels`,
    (n, height, width, 3) with n a multiple of `BATCH`, are what ranges are taken from.
    """
    spared = {node.get_friendly_name() for node in front.get_ops()} if front else set()
    layers = [node for node in _layers(network) if node.get_friendly_name() not in spared]
    sources = [_source(layer) for layer in layers]
    inputs = {_key(source): source for source in sources}
    ranges = _ranges(network, list(inputs.values()), pixels)
    for key, value in inputs.items():
        _round_activations(value, *ranges[key][:2])
    for layer, source in zip(layers, sources, strict=True):
        _round_weights(layer, mean=ranges[_key(source)][2])
    network.validate_nodes_and_infer_types()


def _layers(network: "openvino.Model") -> list[Any]:
    """Convolutions and products with constant weights."""
    from openvino import passes

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(network)
    return [node for node in network.get_ordered_ops() if _is_layer(node)]


def _is_layer(node: Any) -> bool:
    name = node.get_type_name()
    if name == "MatMul" and node.get_attributes()["transpose_a"]:
        return False
    weighted = name in _WITHIN or (name == "MatMul" and len(node.get_input_shape(1)) == 2)
    return weighted and node.input_value(1).get_node().get_type_name() == "Constant"


def _source(layer: Any) -> Any:
    """What a layer computes on; before its padding, for zeros stay zeros."""
    value = layer.input_value(0)
    while value.get_node().get_type_name() == "Pad":
        value = value.get_node().input_value(0)
    return value


def _key(value: Any) -> tuple[str, int]:
    return value.get_node().get_name(), value.get_index()


def _ranges(
    network: "openvino.Model", values: list[Any], pixels: NDArray[np.uint8]
) -> dict[tuple[str, int], tuple[float, float, Array]]:
    """The least, the largest, and each channel's mean of values inside a network."""
    import openvino
    from openvino import opset13

    results = [opset13.result(value) for value in values]
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    probe = openvino.Core().compile_model(openvino.Model(results, network.get_parameters()), "CPU", config)
    request = probe.create_infer_request()
    seen: list[list[tuple[float, float, Array]]] = [[] for _ in values]
    for start in range(0, len(pixels), BATCH):
        request.infer({0: pixels[start : start + BATCH]})
        for place, found in enumerate(seen):
            x = request.get_output_tensor(place).data
            # Channels stand second before a convolution, last before a matrix product.
            others = (0, 2, 3) if _feeds_convolution(values[place]) else tuple(range(x.ndim - 1))
            found.append((float(x.min()), float(x.max()), x.mean(axis=others)))
    for value, result in zip(values, results, strict=True):
        value.remove_target_input(result.input(0))
    return {
        _key(value): (min(low), max(high), np.mean(means, axis=0))
        for value, found in zip(values, seen, strict=True)
        for low, high, means in [zip(*found, strict=True)]
    }


def _feeds_convolution(value: Any) -> bool:
    nodes = [target.get_node() for target in value.get_target_inputs()]
    return any(
        node.get_type_name() in _WITHIN
        or (node.get_type_name() == "Pad" and _feeds_convolution(node.output(0)))
        for node in nodes
    )


def _round_weights(layer: Any, mean: Array) -> None:
    """Round a layer's weights, and subtract what that adds to its mean response."""
    from openvino import opset13

    name, given = layer.get_type_name(), layer.input_value(1)
    weights = given.get_node().data
    by_rows = name == "MatMul" and layer.get_attributes()["transpose_b"]
    within = _WITHIN.get(name) or ((1,) if by_rows else (0,))
    largest = np.maximum(np.abs(weights).max(axis=within, keepdims=True), 1e-8).astype(np.float32)
    error = np.round(weights / largest * 127) * largest / 127 - weights
    if name == "Convolution":
        shift = (error.sum(axis=(2, 3)) @ mean).reshape(1, -1, 1, 1)
    elif name == "GroupConvolution":
        groups, _, each = error.shape[:3]
        shift = np.einsum("goi,gi->go", error.sum(axis=(3, 4)), mean.reshape(groups, each)).reshape(
            1, -1, 1, 1
        )
    else:
        shift = error @ mean if by_rows else mean @ error
    targets = list(layer.output(0).get_target_inputs())
    corrected = opset13.subtract(layer.output(0), opset13.constant(shift.astype(np.float32)))
    for target in targets:
        target.replace_source_output(corrected.output(0))
    # 255 levels: as many below zero as above.
    layer.input(1).replace_source_output(_rounded(given, -largest, largest, 255))


def _round_activations(value: Any, low: float, high: float) -> None:
    """Round what layers are given: from zero where nothing is negative, else about zero."""
    targets = [t for t in value.get_target_inputs() if t.get_node().get_type_name() != "Result"]
    if low >= 0:
        low, high = 0.0, max(high, 1e-8)
    else:
        high = max(-low * 127 / 128, high)
        low = -high * 128 / 127
    rounded = _rounded(value, np.float32(low), np.float32(high), 256)
    for target in targets:
        target.replace_source_output(rounded)


def _rounded(value: Any, low: Any, high: Any, levels: int) -> Any:
    """OpenVINO computes in 8 bits what lies between two of these."""
    from openvino import opset13

    least, most = opset13.constant(low), opset13.constant(high)
    return opset13.fake_quantize(value, least, most, least, most, levels).output(0)
