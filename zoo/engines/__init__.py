"""How a batch is run: torch, ONNX Runtime or OpenVINO, behind one contract.

An engine runs one *graph*, the function from pixels to features that :mod:`zoo.engines.graph`
defines, and every engine runs the same one. They differ in speed (several times, on a CPU) and in the
last bits of float32.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["BATCH", "ENGINES", "PRECISIONS", "Engine", "EngineError", "build", "check"]

#: Images in a batch. Always this many (a last, smaller one is padded), so that an image's features
#: depend on neither how many others there are nor which.
BATCH = 32

PRECISIONS = ("fp32", "bf16")

#: Engines from the fastest on most processors to the one that is always there, each with the
#: packages it needs.
ENGINES: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "torch": ("torch",),
}


class EngineError(ZooError):
    """An engine that is not installed or cannot run a network."""


class Engine(Protocol):
    """Something that runs batches of a backbone's graph."""

    name: str
    precision: str

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn `BATCH` images, (BATCH, height, width, 3), into features, (BATCH, num_features)."""


def build(
    backbone: "Backbone",
    engine: str = "auto",
    precision: str = "fp32",
    say: Callable[[str], None] | None = None,
) -> Engine:
    """Make an engine ready for a backbone.

    Parameters
    ----------
    backbone : Backbone
    engine : str, optional
        One of `ENGINES`, or ``auto``: the first of them that is installed and runs the network.
    precision : str, optional
        ``fp32``, or ``bf16`` for about twice the speed where the processor has bfloat16 arithmetic.
    say : callable, optional
        Told in one line when ``auto`` passes over an engine that failed.

    Returns
    -------
    Engine

    Raises
    ------
    EngineError
        If the engine asked for is unknown, not installed or fails.
    """
    check(engine, precision)
    if engine != "auto":
        return _make(engine, backbone, precision)
    for name in ENGINES:
        if name == "torch" or not _installed(name):
            continue
        try:
            return _make(name, backbone, precision)
        except EngineError as error:
            if say:
                say(f"{name} cannot run {backbone.name}, trying the next engine: {error.problem}")
    return _make("torch", backbone, precision)


def check(engine: str, precision: str) -> None:
    """Refuse an engine or a precision that cannot be had here.

    Raises
    ------
    EngineError
        If one is unknown, or the engine is not installed.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"There is no precision {precision!r}.", f"Choose one of {', '.join(PRECISIONS)}.")
    if engine not in ("auto", *ENGINES):
        raise EngineError(f"There is no engine {engine!r}.", f"Choose one of auto, {', '.join(ENGINES)}.")
    if engine != "auto" and not _installed(engine):
        raise EngineError(
            f"The engine {engine} is not installed.",
            'Install it with: pip install "finetune-zoo[fast]", or use --engine torch.',
        )


def _installed(engine: str) -> bool:
    return all(find_spec(package) for package in ENGINES[engine])


def _make(engine: str, backbone: "Backbone", precision: str) -> Engine:
    made: Engine = import_module(f"zoo.engines.{engine}_engine").make(backbone, precision)
    return made
