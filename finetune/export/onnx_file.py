"""``--format onnx``: one ONNX file for ONNX Runtime, in any of its languages."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.export.predictor import ARRAYS, ONNX_FILE, UNFAMILIAR, metadata_of, session_of
from zoo.engines.converted import quiet

if TYPE_CHECKING:
    import onnx

    from finetune.export.network import Classifier
    from finetune.export.source import Source

__all__ = ["OPSET", "check", "describe", "keep_arrays", "make", "require", "save", "write"]

#: The newest set of operators that onnxruntime 1.17 (January 2024) knows already.
OPSET = 20

#: Numbers of images that are tried.
_BATCHES = (1, 3, 32)


def write(source: "Source", folder: Path) -> dict[str, float]:
    """Write the file into `folder`; return the greatest difference from the run by runtime.

    Raises
    ------
    RunError
        If a package is missing, or ONNX Runtime or torch disagree with the run.
    """
    require("onnx", "onnxscript", "onnxruntime")
    path = folder / ONNX_FILE
    gaps = {"torch": source.golden.check(source.module.run(source.pixels)["probabilities"], "torch")}
    model = make(source.module, source.pixels)
    keep_arrays(model, source.module)
    describe(model, source.about)
    save(model, path)
    return {**gaps, "ONNX Runtime": check(source, path)}


def make(module: "Classifier", pixels: NDArray[np.uint8]) -> "onnx.ModelProto":
    """Convert the classifier, for any number of images at a time."""
    import torch

    # Traced with two: a batch of one would be built in as a constant.
    example = torch.from_numpy(np.concatenate([pixels[:1], pixels[:1]]))
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=list(module.outputs),
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def keep_arrays(model: "onnx.ModelProto", module: "Classifier") -> None:
    """Make sure that a reader finds the training images' features by name: few of them are computed away."""
    from onnx import numpy_helper

    if module.unfamiliar is None:
        return
    names = {tensor.name for tensor in model.graph.initializer}
    arrays = module.unfamiliar.known.to_arrays()
    for name in ARRAYS:
        if (full := f"{UNFAMILIAR}.{name}") not in names:
            model.graph.initializer.append(numpy_helper.from_array(arrays[name], full))


def describe(model: "onnx.ModelProto", about: dict[str, Any]) -> None:
    """Write what the model is into its metadata, and remove what the exporter wrote about our code."""
    from onnx import helper

    for node in [*model.graph.node, *(n for function in model.functions for n in function.node)]:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.metadata_props[:]
    model.producer_name = about["program"]
    model.producer_version = ""
    model.doc_string = f"Classifier of {', '.join(about['classes'][:20])}. Metadata values are JSON."
    values = {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}
    helper.set_model_props(model, {**values, "opset": str(OPSET)})


def save(model: "onnx.ModelProto", path: Path) -> None:
    """Check the model by ONNX's own rules and write it."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def check(source: "Source", path: Path) -> float:
    """Run the golden images through ONNX Runtime, in batches of several sizes; return the difference."""
    session = session_of(path)
    if metadata_of(session) != json.loads(json.dumps({**source.about, "opset": OPSET})):
        raise RunError("The ONNX file's metadata does not come back.", "Nothing was exported: report this.")
    worst = 0.0
    for size in _BATCHES:
        pixels = np.resize(source.pixels, (max(size, len(source.pixels)), *source.pixels.shape[1:]))
        found = [
            session.run(["probabilities"], {"pixels": pixels[start : start + size]})[0]
            for start in range(0, len(source.pixels), size)
        ]
        probabilities = np.concatenate(found)[: len(source.pixels)]
        worst = max(worst, source.golden.check(probabilities, f"ONNX Runtime, {size} at a time,"))
    return worst


def require(*packages: str) -> None:
    """Raise RunError if a package is not installed."""
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise RunError(
            f"This export needs {' and '.join(missing)}.",
            f"Install {'it' if len(missing) == 1 else 'them'}: pip install {' '.join(missing)}",
        )
