"""ONNX Runtime: fast in float32 on every processor, and the lightest to install."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.engines.contract import EngineError
from zoo.engines.converted import ExportFormat, converted
from zoo.engines.machine import machine
from zoo.engines.taps import FeatureTap

if TYPE_CHECKING:
    from zoo.engines.graph import Graph

__all__ = ["ONNXRuntimeEngine", "make"]

_FILE = "graph.onnx"
_ERRORS_ONLY = 3
_FAILURES = (
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NotImplemented",
    "RuntimeException",
)


class ONNXRuntimeEngine:
    """A session on all cores, from the folder with the converted network."""

    name = "onnxruntime"
    precision = "fp32"
    cosine = 1.0

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = int(machine()["cores"])
        path = str(folder / _FILE)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn `BATCH` images, (BATCH, height, width, 3), into features, (BATCH, width)."""
        features: NDArray[np.float32] = np.concatenate(self._session.run(None, {self._input: batch}), axis=1)
        return features


def make(backbone: Backbone, precision: str, taps: Sequence[FeatureTap]) -> ONNXRuntimeEngine:
    """Make the engine ready for a backbone; raises EngineError if the network cannot be converted or run."""
    if precision != "fp32":
        raise EngineError("ONNX Runtime has no bf16 on processors.", "Use --engine auto or --precision fp32.")
    # ONNX Runtime's exceptions share no base class.
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    failures = tuple(getattr(state, name) for name in _FAILURES)
    packages = ("onnxruntime", "onnx", "onnxscript", "torch", "timm")
    form = ExportFormat("onnxruntime", packages, _write, ONNXRuntimeEngine, failures)
    lease = converted(backbone, taps, form)
    try:
        return ONNXRuntimeEngine(lease.folder)
    except failures as error:
        raise EngineError(
            f"ONNX Runtime cannot run {backbone.name} ({str(error).splitlines()[0]}).", "Use --engine torch."
        ) from error


def _write(graph: "Graph", pixels: NDArray[np.uint8], folder: Path) -> None:
    import torch

    with torch.inference_mode(False), torch.no_grad():
        torch.onnx.export(
            graph,
            (torch.from_numpy(pixels),),
            folder / _FILE,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
