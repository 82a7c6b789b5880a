"""How a batch is run: torch, ONNX Runtime or OpenVINO, behind one contract.

An engine runs one *graph*, the function from pixels to features that :mod:`zoo.engines.graph`
defines, and every engine runs the same one. They differ in speed (several times, on a CPU) and in the
last bits of float32.
"""

from zoo.engines.choice import build, settled_precision
from zoo.engines.contract import BATCH, ENGINES, PRECISIONS, Engine, EngineError, check
from zoo.engines.taps import LAST, POOLS, FeatureTap, UnknownLayerError, taps_of

__all__ = [
    "BATCH",
    "ENGINES",
    "LAST",
    "POOLS",
    "PRECISIONS",
    "Engine",
    "EngineError",
    "FeatureTap",
    "UnknownLayerError",
    "build",
    "check",
    "settled_precision",
    "taps_of",
]
