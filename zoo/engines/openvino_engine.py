"""OpenVINO: the fastest on most Intel and AMD processors.

The network is converted once and kept in the cache folder, so that later runs need neither torch nor
timm. The converted graph is checked against torch before it is kept.
"""

import hashlib
import json
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.cache import cache_folder
from zoo.engines import BATCH, EngineError

__all__ = ["OpenVINOEngine", "make"]

_PRECISION = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOEngine:
    """A compiled network with one request that uses all cores.

    Parameters
    ----------
    graph : Path
        The converted network, an ``.xml`` file with its ``.bin``.
    input_size : (int, int)
        Height and width of the images.
    precision : str
        ``fp32`` or ``bf16``.
    """

    name = "openvino"

    def __init__(self, graph: Path, input_size: tuple[int, int], precision: str) -> None:
        import openvino

        self.precision = precision
        core = openvino.Core()
        network = core.read_model(graph)
        network.reshape([BATCH, *input_size, 3])
        # The precision is said, for otherwise a processor with bf16 would use it unasked. One request
        # on all cores beats several on a core each here: the caches hold one set of activations.
        config = {"INFERENCE_PRECISION_HINT": _PRECISION[precision], "PERFORMANCE_HINT": "LATENCY"}
        self._request = core.compile_model(network, "CPU", config).create_infer_request()

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn `BATCH` images, (BATCH, height, width, 3), into features, (BATCH, num_features)."""
        result: NDArray[np.float32] = self._request.infer({0: batch}, share_inputs=True)[0]
        return result.copy()


def make(backbone: Backbone, precision: str) -> OpenVINOEngine:
    """Make the engine ready for a backbone, converting the network if that was not done before.

    Raises
    ------
    EngineError
        If OpenVINO cannot convert the network, or computes something else than torch does.
    """
    import filelock
    from openvino import get_version

    identity = {**backbone.identity, "openvino": get_version(), "graph": 1}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder("graphs") / key
    graph = folder / "graph.xml"
    if not graph.exists():
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not graph.exists():
                _convert(backbone, folder)
    return OpenVINOEngine(graph, backbone.preprocess.input_size, precision)


def _convert(backbone: Backbone, folder: Path) -> None:
    """Write the converted network to `folder`, whole or not at all."""
    import openvino
    import torch

    from zoo.engines.graph import Graph, example

    pixels = example(backbone)
    module = Graph(backbone).eval()
    temporary = folder.with_suffix(f".{os.getpid()}.tmp")
    try:
        with torch.inference_mode(False), torch.no_grad():
            expected = module(pixels).numpy()
            network = _traced(module, pixels)
        temporary.mkdir(parents=True)
        openvino.save_model(network, temporary / "graph.xml", compress_to_fp16=False)
        engine = OpenVINOEngine(temporary / "graph.xml", backbone.preprocess.input_size, "fp32")
        padded = np.zeros((BATCH, *pixels.shape[1:]), np.uint8)
        padded[: len(pixels)] = pixels.numpy()
        _compare(engine(padded)[: len(pixels)], expected, backbone.name)
        temporary.rename(folder)
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO cannot convert {backbone.name} ({str(error).splitlines()[0]}).", "Use --engine torch."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _traced(module: Any, pixels: Any) -> Any:
    """Convert a torch module by running it once on `pixels`."""
    import openvino
    import torch

    level = logging.root.level
    # Both libraries have remarks on each other's versions, which help no user.
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Traced here and not by OpenVINO, which would trace three times over to compare.
            traced = torch.jit.freeze(torch.jit.trace(module, pixels, check_trace=False))
            return openvino.convert_model(traced, input=[([-1, *pixels.shape[1:]], openvino.Type.u8)])
    finally:
        logging.root.setLevel(level)


def _compare(got: NDArray[np.float32], expected: NDArray[np.float32], name: str) -> None:
    """Refuse a graph that computes something else than the network it was made from."""
    worst = float(np.abs(got - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not worst < 1e-3:
        raise EngineError(
            f"OpenVINO's features of {name} differ from torch's by {worst:.1e} of the largest.",
            "Use --engine torch.",
        )
