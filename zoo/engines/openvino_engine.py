"""OpenVINO: the fastest on most Intel and AMD processors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.contract import BATCH, EngineError
from zoo.engines.converted import ExportFormat, converted
from zoo.engines.int8 import CLOSE_INT8, quantise
from zoo.engines.machine import has_int8, versions
from zoo.engines.photographs import calibration_photographs
from zoo.engines.precisions import CLOSE, cuts, least_cut, measured_cosine
from zoo.engines.taps import FeatureTap, taps_of

if TYPE_CHECKING:
    from zoo.engines.graph import Graph

__all__ = ["OpenVINOEngine", "make"]

_FILE = "graph.xml"


class OpenVINOEngine:
    """A compiled network with one request that uses all cores; two where a part of it stays float32.

    Parameters
    ----------
    folder : Path
        With the converted network.
    outputs : sequence of int, optional
        Which of the network's outputs are the features; by default all.
    rounded : Path, optional
        With the same network, its kernels rounded to bf16: what is run in bf16. By default nothing is.
    cut : int, optional
        The output at which bf16 or int8 begins; by default from the start.
    calibration : (n, height, width, 3) uint8 array, optional
        Pixels to take ranges from: what comes after the cut is run in int8.
    """

    name = "openvino"
    cosine = 1.0

    def __init__(
        self,
        folder: Path,
        outputs: Sequence[int] | None = None,
        rounded: Path | None = None,
        cut: int | None = None,
        calibration: NDArray[np.uint8] | None = None,
    ) -> None:
        self.precision = "int8" if calibration is not None else "bf16" if rounded else "fp32"
        network = _read(folder)
        wanted = list(range(len(network.outputs)) if outputs is None else outputs)
        self._places = [(0, place) for place in range(len(wanted))]
        if calibration is not None:
            whole = _until(network, wanted)
            quantise(whole, None if cut is None else _until(network, [cut]), calibration)
            self._requests = [_request(whole, "fp32")]
        elif rounded and cut is not None:
            self._divide(network, _read(rounded), wanted, cut)
        else:
            self._requests = [_request(_until(_read(rounded or folder), wanted), self.precision)]

    def _divide(self, network: Any, rounded: Any, wanted: list[int], cut: int) -> None:
        """Run up to the cut in fp32, with the features that come before it, and the rest in bf16."""
        early = [output for output in wanted if not _depends(network, output, cut)]
        late = [output for output in wanted if output not in early]
        self._places = [
            (0, 1 + early.index(output)) if output in early else (1, late.index(output)) for output in wanted
        ]
        front = _request(_until(network, [cut, *early]), "fp32")
        self._requests = [front]
        if late:
            rest = _request(_from(rounded, cut, late), "bf16")
            rest.set_input_tensor(front.get_output_tensor(0))
            self._requests.append(rest)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn `BATCH` images, (BATCH, height, width, 3), into features, (BATCH, width)."""
        self._requests[0].infer({0: batch}, share_inputs=True)
        for request in self._requests[1:]:
            request.infer()
        parts = [self._requests[part].get_output_tensor(place).data for part, place in self._places]
        features: NDArray[np.float32] = np.concatenate(parts, axis=1)
        return features


def make(backbone: Backbone, precision: str, taps: Sequence[FeatureTap]) -> OpenVINOEngine:
    """Make the engine ready for a backbone, converting the network if that was not done before.

    Raises
    ------
    EngineError
        If OpenVINO cannot convert or run the network, or int8 would lose too much.
    """
    if precision == "int8" and not has_int8():
        raise EngineError("This processor has no int8 arithmetic.", "Use --precision fp32.")
    failures = _failures()
    places = cuts(backbone)
    # One network with all that is usually read serves whoever reads a part: the rest is left out when it
    # is compiled. Its last features are measured wherever precision is reduced.
    graph = list(taps_of(backbone, "stages").values())
    graph += [tap for tap in taps if tap not in graph]
    form = ExportFormat("openvino", ("openvino", "torch", "timm"), _write, OpenVINOEngine, failures, places)
    calibration = calibration_photographs(backbone.preprocess) if precision == "int8" else None

    def made(cut: int | None, read: Sequence[FeatureTap]) -> OpenVINOEngine:
        plain = converted(backbone, graph, form)
        options: dict[str, Any] = {"outputs": [graph.index(tap) for tap in read]}
        if cut is not None:
            options["cut"] = len(graph) + cut - 1 if cut else None
            options["calibration"] = calibration
            if calibration is None:
                rounded = converted(backbone, graph, form, "bf16")
                options["rounded"] = rounded.folder
        try:
            return OpenVINOEngine(plain.folder, **options)
        except failures as error:
            reason = str(error).strip().splitlines()[-1]
            raise EngineError(
                f"OpenVINO cannot run {backbone.name} ({reason}).", "Use --engine torch."
            ) from error

    if precision == "fp32":
        return made(None, taps)
    subject = {"engine": "openvino", **versions("openvino"), precision: {"bf16": 2, "int8": 1}[precision]}
    close = CLOSE_INT8 if precision == "int8" else CLOSE
    engine = made(least_cut(backbone, subject, made, close), taps)
    engine.cosine = measured_cosine(backbone, taps, subject, engine, lambda: made(None, taps))
    if precision == "int8" and engine.cosine < close:
        raise EngineError(
            f"int8 is too inexact for {backbone.name}: cosine with fp32 {engine.cosine:.4f} at worst.",
            "Use --precision bf16.",
        )
    return engine


def _failures() -> tuple[type[Exception], ...]:
    from openvino import frontend

    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
        frontend.NotImplementedFailure,
        frontend.InitializationFailure,
    )


def _request(network: Any, precision: str) -> Any:
    import openvino

    # The precision is set, for otherwise a processor with bf16 would use it unasked. One request
    # on all cores beats several on a core each here: the caches hold one set of activations.
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(network, "CPU", config).create_infer_request()


def _read(folder: Path) -> Any:
    import openvino

    network = openvino.Core().read_model(folder / _FILE)
    network.reshape([BATCH, *network.input(0).partial_shape.get_max_shape()[1:]])
    return network


def _until(network: Any, outputs: Sequence[int]) -> Any:
    """The part of a network that some of its outputs need."""
    import openvino

    results = network.get_results()
    return openvino.Model([results[output] for output in outputs], network.get_parameters())


def _depends(network: Any, output: int, on: int) -> bool:
    """Whether an output is computed from what another one gives."""
    place = network.get_results()[on].input_value(0).get_node().get_friendly_name()
    return any(node.get_friendly_name() == place for node in _until(network, [output]).get_ops())


def _from(network: Any, cut: int, outputs: Sequence[int]) -> Any:
    """The part of a network from one of its outputs to others."""
    import openvino
    from openvino import opset13

    place = network.get_results()[cut].input_value(0)
    parameter = opset13.parameter(list(place.get_shape()), place.get_element_type())
    for consumer in place.get_target_inputs():
        if consumer.get_node().get_type_name() != "Result":
            consumer.replace_source_output(parameter.output(0))
    # Raises where the features depend on the pixels by another way too.
    return openvino.Model([network.get_results()[output] for output in outputs], [parameter])


def _write(graph: "Graph", pixels: NDArray[np.uint8], folder: Path) -> None:
    import openvino
    import torch

    few = torch.from_numpy(pixels[:2])
    with torch.inference_mode(False), torch.no_grad():
        # Traced here and not by OpenVINO, which would trace three times over to compare.
        traced = torch.jit.freeze(torch.jit.trace(graph, few, check_trace=False))
    network = openvino.convert_model(traced, input=[([-1, *few.shape[1:]], openvino.Type.u8)])
    openvino.save_model(network, folder / _FILE, compress_to_fp16=False)
