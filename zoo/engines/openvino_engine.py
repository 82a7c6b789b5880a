"""OpenVINO: the fastest on most Intel and AMD processors."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.bf16 import CLOSE, least_cut
from zoo.engines.contract import BATCH, EngineError
from zoo.engines.converted import Form, converted
from zoo.engines.int8 import CLOSE_INT8, quantise
from zoo.engines.machine import has_bf16, has_int8
from zoo.engines.notes import versions
from zoo.engines.photographs import others
from zoo.engines.readout import Readout

if TYPE_CHECKING:
    from zoo.engines.graph import Graph

__all__ = ["OpenVINOEngine", "make"]

_FILE = "graph.xml"


class OpenVINOEngine:
    """A compiled network with one request that uses all cores.

    Parameters
    ----------
    folder : Path
        With the converted network.
    rounded : Path, optional
        With the same, its kernels rounded to bf16: what is run in bf16. By default nothing is.
    cut : int, optional
        The tap at which bf16 begins; 0: from the start.
    cosine : float, optional
        Between its features and those of fp32.
    calibration : (n, height, width, 3) uint8 array, optional
        Pixels to take ranges from: what comes after the cut is run in int8.
    """

    name = "openvino"

    def __init__(
        self,
        folder: Path,
        rounded: Path | None = None,
        cut: int = 0,
        cosine: float = 1.0,
        calibration: NDArray[np.uint8] | None = None,
    ) -> None:
        self.precision = "int8" if calibration is not None else "bf16" if rounded else "fp32"
        self.cosine = cosine
        if calibration is not None:
            network = _read(folder)
            front = _until(network, cut) if cut else None
            whole = _until(network, 0)
            quantise(whole, front, calibration)
            self._requests = [_request(whole, "fp32")]
        elif rounded and cut:
            front = _request(_until(_read(folder), cut), "fp32")
            rest = _request(_from(_read(rounded), cut), "bf16")
            rest.set_input_tensor(front.get_output_tensor(0))
            self._requests = [front, rest]
        else:
            self._requests = [_request(_until(_read(rounded or folder), 0), self.precision)]

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn `BATCH` images, (BATCH, height, width, 3), into features, (BATCH, width)."""
        self._requests[0].infer({0: batch}, share_inputs=True)
        for request in self._requests[1:]:
            request.infer()
        features: NDArray[np.float32] = self._requests[-1].get_output_tensor(0).data.copy()
        return features


def make(backbone: Backbone, precision: str, readout: Readout) -> OpenVINOEngine:
    """Make the engine ready for a backbone, converting the network if that was not done before.

    Raises
    ------
    EngineError
        If OpenVINO cannot convert or run the network, the processor lacks the arithmetic that is asked for,
        or int8 would lose too much.
    """
    from openvino import frontend

    failures = (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
        frontend.NotImplementedFailure,
        frontend.InitializationFailure,
    )
    if (precision == "bf16" and not has_bf16()) or (precision == "int8" and not has_int8()):
        raise EngineError(f"This processor has no {precision} arithmetic.", "Use --precision fp32.")
    form = Form("openvino", ("openvino", "torch", "timm"), _write, OpenVINOEngine, failures, divisible=True)

    calibration = others(backbone.preprocess) if precision == "int8" else None

    def compiled(cut: int | None, cosine: float = 1.0) -> OpenVINOEngine:
        plain = converted(backbone, readout, form)
        if cut is None:
            given: tuple[Any, ...] = ()
        elif precision == "int8":
            given = (None, cut, cosine, calibration)
        else:
            rounded = converted(backbone, readout, form, "bf16")
            given = (rounded.folder, cut, cosine)
        try:
            return OpenVINOEngine(plain.folder, *given)
        except failures as error:
            reason = str(error).strip().splitlines()[-1]
            raise EngineError(
                f"OpenVINO cannot run {backbone.name} ({reason}).", "Use --engine torch."
            ) from error

    if precision == "fp32":
        return compiled(None)
    subject = {"engine": "openvino", **versions("openvino"), precision: {"bf16": 2, "int8": 1}[precision]}
    close = CLOSE_INT8 if precision == "int8" else CLOSE
    cut, cosine = least_cut(backbone, readout, subject, partial(compiled, None), compiled, close)
    if precision == "int8" and cosine < close:
        raise EngineError(
            f"int8 would lose too much of {backbone.name}: cosine with fp32 {cosine:.4f} at worst.",
            "Use --precision bf16.",
        )
    return compiled(cut, cosine)


def _request(network: Any, precision: str) -> Any:
    import openvino

    # The precision is said, for otherwise a processor with bf16 would use it unasked. One request
    # on all cores beats several on a core each here: the caches hold one set of activations.
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(network, "CPU", config).create_infer_request()


def _read(folder: Path) -> Any:
    import openvino

    network = openvino.Core().read_model(folder / _FILE)
    network.reshape([BATCH, *network.input(0).partial_shape.get_max_shape()[1:]])
    return network


def _until(network: Any, output: int) -> Any:
    """The part of a network that one of its outputs needs."""
    import openvino

    return openvino.Model([network.get_results()[output]], network.get_parameters())


def _from(network: Any, tap: int) -> Any:
    """The part of a network from one of its taps to its features."""
    import openvino
    from openvino import opset13

    place = network.get_results()[tap].input_value(0)
    given = opset13.parameter(list(place.get_shape()), place.get_element_type())
    for consumer in place.get_target_inputs():
        if consumer.get_node().get_type_name() != "Result":
            consumer.replace_source_output(given.output(0))
    # Raises where the features depend on the pixels by another way too.
    return openvino.Model([network.get_results()[0]], [given])


def _write(graph: "Graph", pixels: NDArray[np.uint8], folder: Path) -> None:
    import openvino
    import torch

    few = torch.from_numpy(pixels[:2])
    with torch.inference_mode(False), torch.no_grad():
        # Traced here and not by OpenVINO, which would trace three times over to compare.
        traced = torch.jit.freeze(torch.jit.trace(graph, few, check_trace=False))
    network = openvino.convert_model(traced, input=[([-1, *few.shape[1:]], openvino.Type.u8)])
    openvino.save_model(network, folder / _FILE, compress_to_fp16=False)
