"""What comes out of each layer: is it alive, of a sensible size, and not stuck at its limits?

(CS231n, "Babysitting the learning process": activation and gradient distributions per layer.) A rectifier's
channel is dead where it lets nothing of a whole batch through: it learns nothing any more.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.drawing import Histogram, histograms
from finetune.checks.network.part import NetworkPart

__all__ = ["check"]

BATCH = 32

#: Share of a layer's channels that are dead: what is worth a look, and what leaves next to nothing.
DEAD_MANY, DEAD = 0.5, 0.95

#: Deviation of a layer's values: the usual, and what has vanished or exploded.
USUAL, POSSIBLE = (1e-3, 1e2), (1e-6, 1e4)

#: Share of values at a function's limits: ReLU6 at 6, tanh beyond 0.99, sigmoid nearer than 0.01 to 0 or 1.
SATURATED = 0.5

BINS, SAMPLE = 24, 50_000

_PICTURE = "activations.svg"
_GRAVITY: tuple[Status, ...] = ("pass", "warn", "fail")
_RECTIFIERS, _GATES = {"relu", "relu6"}, {"sigmoid", "hardsigmoid", "tanh"}


@dataclass
class _Layer:
    """A layer's output on a batch; `dead` and `saturated` are None where they mean nothing."""

    name: str
    kind: str
    mean: float
    deviation: float
    dead: float | None
    saturated: float | None
    histogram: Histogram

    def status(self) -> Status:
        """How it is to be judged."""
        dead, deviation = self.dead or 0.0, self.deviation
        if dead >= DEAD or not math.isfinite(deviation):
            return "fail"
        if self.kind in _GATES or self.kind == "scores":  # which may be meant to say the same of all
            return "pass"
        if not POSSIBLE[0] <= deviation <= POSSIBLE[1]:
            return "fail"
        unusual = not USUAL[0] <= deviation <= USUAL[1]
        return "warn" if dead > DEAD_MANY or unusual else "pass"


def check(subject: Subject) -> list[Finding]:
    """Look at every activation function's output on a batch of pictures, and at the new classifier's.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``layers`` and ``saturation``; a picture has each layer's histogram.
    """
    part = subject.network
    part.begin("random")
    layers = list(_looked_at(part))
    svg = histograms([layer.histogram for layer in layers])
    (subject.pictures / _PICTURE).write_text(svg, encoding="utf-8")
    return [_alive(part, layers), _saturation(layers)]


def _looked_at(part: NetworkPart) -> Iterator[_Layer]:
    """Each layer as a batch leaves it, in the order of the work."""
    network, classifier = part.ready.network, part.backbone.classifier
    kinds = {name: _kind(module) for name, module in network.named_modules()}
    watched = {name: kind for name, kind in kinds.items() if kind}
    if not watched:  # functions that are no modules can't be watched, what they are applied to can
        watched = {n: "conv" for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    found: list[_Layer] = []
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda module, given, output, name=name, kind=kind: found.append(_measured(name, kind, output))
        )
        for name, kind in {**watched, classifier: "scores"}.items()
    ]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            network(part.images(BATCH).to(next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    yield from found


def _kind(module: nn.Module) -> str:
    """An activation function's name; empty for anything else."""
    room = type(module).__module__
    if room == "torch.nn.modules.activation" or room.startswith("timm.layers.activations"):
        return type(module).__name__.lower()
    return ""


def _measured(name: str, kind: str, output: torch.Tensor) -> _Layer:
    values = output.detach().float()
    flat = values.flatten()
    some = flat[:: max(1, len(flat) // SAMPLE)].cpu().numpy()
    finite = some[np.isfinite(some)]
    low, high = np.percentile(finite, (0.5, 99.5)) if len(finite) else (0.0, 0.0)
    counts, _ = np.histogram(finite, BINS, (low, high if high > low else low + 1e-6))
    dead = None
    if kind in _RECTIFIERS and values.ndim > 1:
        axes = [axis for axis in range(values.ndim) if axis != 1]
        dead = float((values.amax(dim=axes) <= 0).float().mean())
    layer = _Layer(
        name,
        kind,
        float(flat.mean()),
        float(flat.std(correction=0)),
        dead,
        _at_limits(kind, flat),
        Histogram(name, counts.tolist(), float(low), float(high)),
    )
    if layer.status() != "pass":
        layer.histogram = Histogram(name, counts.tolist(), float(low), float(high), bad=True)
    return layer


def _at_limits(kind: str, values: torch.Tensor) -> float | None:
    """The share of values where the function has no slope any more."""
    if kind == "relu6":
        stuck = values >= 6
    elif kind == "tanh":
        stuck = values.abs() > 0.99
    elif kind in _GATES:
        stuck = (values - 0.5).abs() > 0.49
    else:
        return None
    return float(stuck.float().mean())


def _alive(part: NetworkPart, layers: list[_Layer]) -> Finding:
    by_status = {status: [one for one in layers if one.status() == status] for status in _GRAVITY}
    worst: Status = max((one.status() for one in layers), key=_GRAVITY.index, default="pass")
    bad = by_status[worst] if worst != "pass" else []
    deadest = max((layer.dead or 0.0 for layer in layers), default=0.0)
    head: Any = part.ready.network.get_submodule(part.backbone.classifier).weight
    return Finding(
        check="activations",
        name="layers",
        status=worst,
        value=deadest,
        threshold=f"dead channels at most {DEAD_MANY:.0%} of a layer, {DEAD:.0%} fail; deviation "
        f"{USUAL[0]:g} to {USUAL[1]:g}, outside {POSSIBLE[0]:g} to {POSSIBLE[1]:g} fails",
        meaning=(
            f"{', '.join(map(_described, bad[:3]))}{f' and {len(bad) - 3} more' if len(bad) > 3 else ''}. "
            if bad
            else f"{len(layers)} layers are alive; {deadest:.0%} of the channels are dead in the worst. "
        )
        + f"The new classifier's weights deviate by {float(head.detach().std()):.1g}, its scores by "
        f"{layers[-1].deviation:.1g}. pictures/{_PICTURE} shows all.",
        todo=""
        if worst == "pass"
        else "Are the weights damaged, or the pictures normalised wrongly? Try another network.",
        details=[
            {
                "layer": layer.name,
                "kind": layer.kind,
                "mean": _finite(layer.mean),
                "deviation": _finite(layer.deviation),
                "dead": layer.dead,
                "saturated": layer.saturated,
                "status": layer.status(),
            }
            for layer in layers
        ],
    )


def _described(layer: _Layer) -> str:
    if layer.dead and layer.dead > DEAD_MANY:
        return f"{layer.name} has {layer.dead:.0%} dead channels"
    return f"{layer.name} has values of deviation {layer.deviation:.2g}"


def _saturation(layers: list[_Layer]) -> Finding:
    limited = [layer for layer in layers if layer.saturated is not None]
    stuck = [layer for layer in limited if (layer.saturated or 0) > SATURATED]
    most = max((layer.saturated or 0.0 for layer in limited), default=None)
    return Finding(
        check="activations",
        name="saturation",
        status="warn" if stuck else "pass",
        value=most,
        threshold=f"at most {SATURATED:.0%} of a layer's values at the limits of tanh, sigmoid or ReLU6",
        meaning="The network has no such functions."
        if most is None
        else f"At most {most:.0%} of a layer's values are where its function has no slope"
        + (f": {stuck[0].name}{f' and {len(stuck) - 1} more' if len(stuck) > 1 else ''}." if stuck else "."),
        todo="Are the pictures normalised as the network expects? Such layers hardly learn." if stuck else "",
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
