"""What every engine is and gives, and which engines and precisions there are."""

from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.engines.machine import has_bf16
from zoo.errors import ZooError

__all__ = ["BATCH", "ENGINES", "PRECISIONS", "Engine", "EngineError", "check", "installed", "offers"]

#: Images in a batch. Always this many (a last, smaller one is padded), so that an image's features
#: depend on neither how many others there are nor which.
BATCH = 32

#: ``auto`` is bf16 where the processor computes with it and the features stay close to fp32's; never int8,
#: which loses more.
PRECISIONS = ("fp32", "bf16", "int8", "auto")

#: Engines from the fastest on most processors to the one that is always there, each with the
#: packages it needs.
ENGINES: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    "torch": ("torch",),
}

# ONNX Runtime's processor kernels compute convolutions in float32 only.
_OFFERS = {"openvino": ("fp32", "bf16", "int8"), "onnxruntime": ("fp32",), "torch": ("fp32", "bf16")}


class EngineError(ZooError):
    """An engine that is not installed or cannot run a network."""


class Engine(Protocol):
    """Something that runs batches of a backbone's graph.

    `precision` is the arithmetic it really uses: ``fp32``, ``bf16`` or ``int8``; `cosine` the least between
    its features and those of fp32 on `BATCH` photographs.
    """

    name: str
    precision: str
    cosine: float

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn `BATCH` images, (BATCH, height, width, 3), into features, (BATCH, width)."""


def check(engine: str, precision: str) -> None:
    """Raise an EngineError if an engine or a precision is unknown or not available here."""
    if precision not in PRECISIONS:
        raise EngineError(f"There is no precision {precision!r}.", f"Choose from {', '.join(PRECISIONS)}.")
    if engine not in ("auto", *ENGINES):
        raise EngineError(f"There is no engine {engine!r}.", f"Choose from auto, {', '.join(ENGINES)}.")
    if engine != "auto" and not installed(engine):
        raise EngineError(
            f"The engine {engine} is not installed.",
            'Install it with: pip install "finetune-zoo[fast]", or use --engine torch.',
        )
    if precision != "auto" and not offers(engine, precision):
        raise EngineError(
            f"The engine {engine} has no {precision}.", "Use --engine auto or --precision fp32."
        )
    if precision == "bf16" and not has_bf16():
        # Emulated, it takes some 20 times as long as fp32.
        raise EngineError("This processor has no bf16 arithmetic.", "Use --precision fp32 or auto.")
    if precision == "int8" and not installed("openvino"):
        raise EngineError(
            "Only the engine openvino has int8, and it is not installed.",
            'Install it with: pip install "finetune-zoo[fast]", or use --precision bf16.',
        )


def installed(engine: str) -> bool:
    """Return whether the packages that an engine needs are installed."""
    return all(find_spec(package) for package in ENGINES[engine])


def offers(engine: str, precision: str) -> bool:
    """Return whether an engine (``auto``: any) computes in a precision, ``fp32``, ``bf16`` or ``int8``."""
    return engine == "auto" or precision in _OFFERS[engine]
