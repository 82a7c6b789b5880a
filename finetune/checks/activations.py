"""The output of each layer: dead units, unusual scale, saturation.

(CS231n, "Babysitting the learning process": activation and gradient distributions per layer.) A unit, or
channel, of a rectifier is dead where it is zero for a whole batch: it gets no gradient any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, Status, listed, worst
from finetune.report.charts import Histogram, histograms, standalone

__all__ = ["Activations"]

BATCH = 32

#: Share of a layer's units that are dead: worth a look, and next to nothing left.
DEAD_MANY, DEAD = 0.5, 0.95

#: Standard deviation of a layer's values: usual, and neither vanished nor exploded.
USUAL, POSSIBLE = (1e-3, 1e2), (1e-6, 1e4)

#: Share of values at a function's limits: ReLU6 at 6, tanh beyond 0.99, sigmoid within 0.01 of 0 or 1.
SATURATED = 0.5

BINS, SAMPLE = 24, 50_000

_PICTURE = "activations.svg"
_RECTIFIERS, _GATES = {"relu", "relu6"}, {"sigmoid", "hardsigmoid", "tanh"}


@dataclass(frozen=True)
class _Layer:
    """A layer's output on a batch; `dead` and `saturated` are None where they mean nothing."""

    name: str
    kind: str
    mean: float
    std: float
    dead: float | None
    saturated: float | None
    histogram: Histogram

    @property
    def status(self) -> Status:
        dead = self.dead or 0.0
        if dead >= DEAD or not math.isfinite(self.std):
            return "fail"
        if self.kind in _GATES or self.kind == "scores":  # these may be about equal for all images
            return "pass"
        if not POSSIBLE[0] <= self.std <= POSSIBLE[1]:
            return "fail"
        return "warn" if dead > DEAD_MANY or not USUAL[0] <= self.std <= USUAL[1] else "pass"

    def describe(self) -> str:
        if self.dead and self.dead > DEAD_MANY:
            return f"{self.name} has {self.dead:.0%} dead units"
        return f"the values of {self.name} have a standard deviation of {self.std:.2g}"


class Activations(Check):
    """The output of every activation function on a batch, and that of a new classifier."""

    name = "activations"

    def applies(self, context: CheckContext) -> bool:
        """Only where there are layers: in a network, or in a head with a hidden layer."""
        return context.trainable is not None and bool(context.trainable.lrs)

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Measure each layer and draw its histogram."""
        part = context.trainable
        assert part is not None
        layers = part.layers(part.rows(BATCH), _measured)
        svg = standalone(histograms([layer.histogram for layer in layers], "Output of each layer"))
        (context.pictures / _PICTURE).write_text(svg, encoding="utf-8")
        return [self._alive(layers), self._saturation(layers)]

    def _alive(self, layers: list[_Layer]) -> CheckResult:
        status = worst([layer.status for layer in layers])
        bad = [layer.describe() for layer in layers if layer.status == status != "pass"]
        most = max((layer.dead or 0.0 for layer in layers), default=0.0)
        return self.result(
            "layers",
            status,
            most,
            f"at most {DEAD_MANY:.0%} of a layer's units dead, {DEAD:.0%} fail; standard deviation "
            f"{USUAL[0]:g} to {USUAL[1]:g}, outside {POSSIBLE[0]:g} to {POSSIBLE[1]:g} fails",
            (
                f"In {len(bad)} of {len(layers)} layers: {listed(bad)}. "
                if bad
                else f"All {len(layers)} layers are alive; in the worst, {most:.0%} of the units are dead. "
            )
            + f"See pictures/{_PICTURE}.",
            "The weights may be damaged, or the images normalised wrongly: try another network.",
            [
                {
                    "layer": layer.name,
                    "kind": layer.kind,
                    "mean": layer.mean if math.isfinite(layer.mean) else None,
                    "std": layer.std if math.isfinite(layer.std) else None,
                    "dead": layer.dead,
                    "saturated": layer.saturated,
                    "status": layer.status,
                }
                for layer in layers
            ],
        )

    def _saturation(self, layers: list[_Layer]) -> CheckResult:
        shares = {layer.name: layer.saturated for layer in layers if layer.saturated is not None}
        stuck = [name for name, share in shares.items() if share > SATURATED]
        most = max(shares.values(), default=None)
        return self.result(
            "saturation",
            "warn" if stuck else "pass",
            most,
            f"at most {SATURATED:.0%} of a layer's values at the limits of tanh, sigmoid or ReLU6",
            "There are no such functions."
            if most is None
            else f"Up to {most:.0%} of a layer's values are where its function is flat"
            + (f": {listed(stuck)}." if stuck else "."),
            "Check that the images are normalised as the network expects; such layers hardly learn.",
        )


def _measured(name: str, kind: str, output: NDArray[np.float32]) -> _Layer:
    flat = output.reshape(-1)
    with np.errstate(all="ignore"):  # NaN and infinity are what is looked for
        mean, std = float(flat.mean(dtype=np.float64)), float(flat.std(dtype=np.float64))
        dead = None
        if kind in _RECTIFIERS and output.ndim > 1:
            other_axes = tuple(axis for axis in range(output.ndim) if axis != 1)
            dead = float((output.max(axis=other_axes) <= 0).mean())
        layer = _Layer(name, kind, mean, std, dead, _at_limits(kind, flat), _histogram(name, flat))
    return replace(layer, histogram=replace(layer.histogram, highlighted=layer.status != "pass"))


def _histogram(name: str, flat: NDArray[np.float32]) -> Histogram:
    some = flat[:: max(1, len(flat) // SAMPLE)]
    finite = some[np.isfinite(some)]
    low, high = np.percentile(finite, (0.5, 99.5)) if len(finite) else (0.0, 0.0)
    counts, _ = np.histogram(finite, BINS, (low, high if high > low else low + 1e-6))
    return Histogram(name, counts.tolist(), float(low), float(high))


def _at_limits(kind: str, values: NDArray[np.float32]) -> float | None:
    """Return the share of values where the function is flat."""
    if kind == "relu6":
        return float((values >= 6).mean())
    if kind == "tanh":
        return float((np.abs(values) > 0.99).mean())
    return float((np.abs(values - 0.5) > 0.49).mean()) if kind in _GATES else None
