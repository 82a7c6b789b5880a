"""Is the gradient that training follows the slope of the loss: analytic against numerical, in float64.

The slope along a direction u is ``(J(t + h u) - J(t - h u)) / 2 h`` up to an error of order h squared, and of
order h where a rectifier or a maximum has its kink on the way. A direction moves each parameter in proportion
to its tensor's size, so that a wrong slope shows wherever it is. Limits as in CS231n's "Gradient checks".
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.gradients import GOOD, GOOD_WITH_KINKS, WRONG, relative_error

__all__ = ["check"]

#: In double precision an image takes tens of times as long as in training.
IMAGES, SIDE = 2, 64

DIRECTIONS = 3

#: By what share of its size each tensor is moved before.
MOVED = 0.01

#: Shares of a tensor's size. The best counts: longer ones meet curvature and kinks, shorter ones rounding.
STEPS = (1e-6, 1e-7, 1e-8, 1e-5)


def check(subject: Subject) -> list[Finding]:
    """Compare both gradients of all that is trained along random directions.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        One, ``numerical against analytic``.
    """
    with _one_thread():
        return _compared(*_problem(subject), subject.seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within, torch uses one core: on so little work, cores wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _compared(tail: Any, loss: Callable[[], torch.Tensor], seed: int) -> list[Finding]:
    parameters = [p for p in tail.parameters() if p.requires_grad]
    gradient = [torch.zeros_like(p) if g is None else g for p, g in _gradients(loss, parameters)]
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for _ in range(DIRECTIONS):
        direction = [_like(p, generator) for p in parameters]
        analytic = float(sum((g * u).sum() for g, u in zip(gradient, direction, strict=True)))
        numerical = (_slope(loss, parameters, direction, h) for h in STEPS)
        errors.append(_least(analytic, numerical))
    return [_finding(errors, sum(p.numel() for p in parameters))]


def _problem(subject: Subject) -> tuple[Any, Callable[[], torch.Tensor]]:
    """A double copy of the trained part and its loss on a small batch, the same dropout each time."""
    part = subject.network
    part.begin("random")
    job = part.job(SIDE)
    tail: Any = copy.deepcopy(job.tail).double().cpu()
    _liven(tail, part.backbone.classifier, subject.seed)
    rows = part.rows(IMAGES)
    given = job.source.batch(rows, None).double()
    labels = torch.from_numpy(part.task.train.labels[rows])

    def loss() -> torch.Tensor:
        torch.manual_seed(subject.seed)
        return F.cross_entropy(tail(given), labels)

    return tail, loss


def _liven(tail: Any, classifier: str, seed: int) -> None:
    """Move to a place where slopes can be told.

    Behind a classifier near zero, the slopes of all else are near zero too, so it gets weights of a usual
    size. And a parameter that begins as 0 may put a rectifier's kink just here, so all are moved a little.
    """
    head = tail.get_submodule(classifier)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        size = math.prod(head.weight.shape[1:]) ** -0.5
        head.weight.copy_(size * torch.randn(head.weight.shape, generator=generator, dtype=head.weight.dtype))
        for parameter in tail.parameters():
            if parameter.requires_grad:
                parameter.add_(MOVED * _like(parameter, generator))


def _gradients(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor]) -> Any:
    found = torch.autograd.grad(loss(), parameters, allow_unused=True)
    return zip(parameters, found, strict=True)


def _like(parameter: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random direction as long as the parameter, or, where that is zero, as one of small numbers."""
    direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    size = max(float(parameter.detach().norm()), 0.01 * math.sqrt(parameter.numel()))
    return direction * (size / max(float(direction.norm()), 1e-12))


@torch.no_grad()
def _slope(
    loss: Callable[[], torch.Tensor],
    parameters: list[torch.Tensor],
    direction: list[torch.Tensor],
    step: float,
) -> float:
    kept = [p.clone() for p in parameters]
    values = []
    for h in (step, -step):
        for p, at, u in zip(parameters, kept, direction, strict=True):
            p.copy_(at + h * u)
        values.append(float(loss()))
    for p, at in zip(parameters, kept, strict=True):
        p.copy_(at)
    return (values[0] - values[1]) / (2 * step)


def _least(analytic: float, numerical: Any) -> float:
    """The relative error of the best step; no further one is tried once it is good."""
    best = math.inf
    for slope in numerical:
        error = relative_error(analytic, slope)
        best = min(best, error)  # nan is never less
        if best <= GOOD:
            break
    return best


def _finding(errors: list[float], numbers: int) -> Finding:
    worst = max(errors)
    status: Status = "pass" if worst <= GOOD_WITH_KINKS else "fail" if not worst <= WRONG else "warn"
    return Finding(
        check="gradients",
        name="numerical against analytic",
        status=status,
        value=worst if math.isfinite(worst) else str(worst),
        threshold=f"relative error at most {GOOD:g}, with kinks {GOOD_WITH_KINKS:g}; above {WRONG:g} fails",
        meaning={
            "pass": f"They agree along {DIRECTIONS} random directions of all {numbers:,} numbers that learn"
            + ("." if worst <= GOOD else ", but for kinks of rectifiers on the way."),
            "warn": "They agree roughly; kinks rarely explain as much.",
            "fail": "They disagree: training would not go downhill.",
        }[status],
        todo="" if status == "pass" else "Look for a layer with a backward of its own, or detached tensors.",
        details=[{"direction": i, "relative_error": error} for i, error in enumerate(errors)],
    )
