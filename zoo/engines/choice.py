"""Which engine runs a network here: the one requested, remembered, or found by timing them.

No engine is the fastest for every network and processor, and the slowest can take several times as long
as the fastest. Timing them costs some seconds, mostly for converting the network, so it is done only where
a job is long enough to win them back, and its outcome is remembered.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.cache.notes import recall, remember
from zoo.engines.contract import BATCH, ENGINES, Engine, EngineError, check, installed, offers
from zoo.engines.machine import has_bf16, has_gpu, machine, versions
from zoo.engines.photographs import photographs
from zoo.engines.precisions import CLOSE
from zoo.engines.taps import LAST, FeatureTap

__all__ = ["build", "settled_precision"]

Log = Callable[[str], None]
Taps = Sequence[FeatureTap]

#: Seconds that timing may take: a third for the first engine, the rest for the others; of a network so
#: slow that a batch takes longer, not all may get their turn.
BUDGET = 3.0

#: Seconds a job must take with the first engine for timing the others to pay. Converting a network takes
#: some 5 seconds for each, and the fastest engine is seldom more than half as fast again as the first.
WORTHWHILE = 20.0

#: Of fewer images than this, not even the first engine is timed.
FEW = 16 * BATCH

_BATCHES = 5


def build(
    backbone: Backbone,
    engine: str = "auto",
    precision: str = "fp32",
    n_images: int | None = None,
    log: Log | None = None,
    taps: Taps = (LAST,),
) -> Engine:
    """Make an engine ready for a backbone.

    Parameters
    ----------
    backbone : Backbone
        What to run.
    engine : str, optional
        One of `ENGINES`, or ``auto``: the one found fastest for this network on this machine. While that
        was not found out, and `n_images` is too few for finding it out to pay, the first of them that
        is installed and runs the network; torch where there is a GPU.
    precision : str, optional
        ``fp32``; ``bf16`` for up to twice the speed where the processor has bfloat16 arithmetic; ``int8``
        for somewhat more, with features less close (:data:`zoo.engines.int8.CLOSE_INT8`); or ``auto``:
        bf16 where the processor has it, and the features stay as close to fp32's as
        :data:`zoo.engines.precisions.CLOSE` says.
    n_images : int, optional
        How many images are to be run, where that is known.
    log : callable, optional
        Takes a line about an engine that failed, and about which was the fastest.
    taps : sequence of FeatureTap, optional
        What is read; by default the network's own output.

    Returns
    -------
    Engine
        Its `precision` is ``fp32``, ``bf16`` or ``int8``.

    Raises
    ------
    EngineError
        If the engine is unknown, not installed or fails, or the precision is not available or loses too much.
    """
    check(engine, precision)
    chosen = precision
    if precision == "auto":
        chosen = settled_precision(backbone, engine, precision, taps) or _promising(engine)
    made = _built(backbone, engine, chosen, n_images, log, taps)
    if precision == "auto":
        if made.cosine < CLOSE:
            made = _built(backbone, engine, "fp32", n_images, log, taps)
        remember(_precision_subject(backbone, engine, taps), {"precision": made.precision})
    elif made.precision == "bf16" and made.cosine < CLOSE and log:
        log(f"bf16 is inexact for {backbone.name}: cosine with fp32 {made.cosine:.4f} at worst.")
    return made


def settled_precision(backbone: Backbone, engine: str, precision: str, taps: Taps = (LAST,)) -> str | None:
    """Return the precision that features will have; None where ``auto`` was not decided here yet."""
    if precision != "auto":
        return precision
    note = recall(_precision_subject(backbone, engine, taps))
    found = (note or {}).get("precision")
    return found if found in ("fp32", "bf16") else None


def _promising(engine: str) -> str:
    return "bf16" if has_bf16() and offers(engine, "bf16") else "fp32"


def _built(
    backbone: Backbone, engine: str, precision: str, n_images: int | None, log: Log | None, taps: Taps
) -> Engine:
    if engine != "auto":
        return _make(engine, backbone, precision, taps)
    subject = {**_subject(backbone, taps), "precision": precision, "fastest": 1}
    candidates = [name for name in _order() if installed(name) and offers(name, precision)]
    chosen = (recall(subject) or {}).get("engine")
    if chosen in candidates:
        candidates.sort(key=lambda name: name != chosen)  # the others stay behind it, should it fail
    working = _working(candidates, backbone, precision, taps, log)
    first = next(working)
    if chosen == first.name or has_gpu() or len(candidates) == 1 or n_images is None or n_images < FEW:
        return first
    pixels = photographs(backbone.preprocess)
    seconds = _seconds(first, pixels)
    if n_images / BATCH * seconds < WORTHWHILE:
        return first
    best, rates = _fastest(first, seconds, working, pixels)
    remember(subject, {"engine": best.name, "images_per_second": rates})
    if log:
        others = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items() if name != best.name)
        beaten = f" ({others})" if others else ""
        log(f"{best.name} runs {backbone.name} fastest here: {rates[best.name]:.0f} images/s{beaten}.")
    return best


def _working(
    candidates: list[str], backbone: Backbone, precision: str, taps: Taps, log: Log | None
) -> Iterator[Engine]:
    """Make one engine after the other, passing over those that fail; one at least, or the last's error."""
    failure: EngineError | None = None
    made = 0
    for name in candidates:
        try:
            engine = _make(name, backbone, precision, taps)
        except EngineError as error:
            failure = error
            if log and name != candidates[-1]:
                log(f"{name} cannot run {backbone.name}, trying the next engine: {error.problem}")
            continue
        made += 1
        yield engine
    if failure and not made:
        raise failure


def _fastest(
    first: Engine, seconds: float, others: Iterator[Engine], pixels: NDArray[np.uint8]
) -> tuple[Engine, dict[str, float]]:
    """Time engines; return the fastest, and each one's images a second."""
    best, least = first, seconds
    rates = {first.name: BATCH / seconds}
    spent = 0.0
    for engine in others:
        start = time.perf_counter()
        seconds = _seconds(engine, pixels, give_up_after=3 * least)
        spent += time.perf_counter() - start
        rates[engine.name] = BATCH / seconds
        if seconds < least:
            best, least = engine, seconds
        if spent + 2 * least > BUDGET * 2 / 3:
            break
    return best, {name: round(rate, 1) for name, rate in rates.items()}


def _seconds(engine: Engine, pixels: NDArray[np.uint8], give_up_after: float = float("inf")) -> float:
    """Return the shortest time of a few batches: what else the machine does only ever adds to it."""
    taken: list[float] = []
    while len(taken) < _BATCHES and sum(taken) < BUDGET / 6:
        start = time.perf_counter()
        engine(pixels)
        taken.append(time.perf_counter() - start)
        if taken[0] > give_up_after:
            break
    return min(taken)


def _order() -> list[str]:
    names = list(ENGINES)
    return sorted(names, key=lambda name: name != "torch") if has_gpu() else names


def _subject(backbone: Backbone, taps: Taps) -> dict[str, Any]:
    return {
        **backbone.identity,
        "taps": [tap.identity for tap in taps],
        **machine(),
        **versions("torch", "timm", "openvino", "onnxruntime"),
    }


def _precision_subject(backbone: Backbone, engine: str, taps: Taps) -> dict[str, Any]:
    return {**_subject(backbone, taps), "engine": engine, "close": CLOSE}


def _make(engine: str, backbone: Backbone, precision: str, taps: Taps) -> Engine:
    made: Engine = import_module(f"zoo.engines.{engine}_engine").make(backbone, precision, taps)
    return made
