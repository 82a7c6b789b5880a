"""Is the gradient that training follows the slope of the loss: analytic against numerical, in float64.

The slope along a direction u is ``(J(t + h u) - J(t - h u)) / 2 h`` up to an error of order h squared.
The errors that count and their limits are those of CS231n's notes ("Gradient checks"): relative errors
above 1e-2 are surely wrong, 1e-7 is good, and 1e-4 is good enough where the loss has kinks.
"""

import numpy as np
from numpy.typing import NDArray

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.trained_part import draw, in_float64, loss_of, objective, problems_of
from finetune.heads.linear import Loss, Problems

__all__ = ["GOOD", "GOOD_WITH_KINKS", "WRONG", "check", "relative_error"]

GOOD, GOOD_WITH_KINKS, WRONG = 1e-7, 1e-4, 1e-2

DIRECTIONS = 5

#: A longer step is off by the loss's curvature, a shorter one by rounding; the best of them counts.
STEPS = (1e-2, 1e-3, 1e-4, 1e-5)

#: Representable in float32, in which the penalty's gradient takes it.
L2 = 0.0625


def check(subject: Subject) -> list[Finding]:
    """Compare both gradients of the classifier along random directions.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        One, ``numerical against analytic``.
    """
    problems = in_float64(problems_of(subject, draw(subject, 100)))
    loss = loss_of(subject)
    generator = np.random.default_rng(subject.seed)
    theta = 0.01 * generator.normal(size=problems.start().shape)
    errors = []
    for _ in range(DIRECTIONS):
        direction = generator.normal(size=theta.shape)
        direction /= np.linalg.norm(direction)
        errors.append(_error_along(problems, loss, theta, direction))
    worst = max(errors)
    good = GOOD if subject.options.loss == "softmax" else GOOD_WITH_KINKS
    status: Status = "pass" if worst <= good else "fail" if not worst <= WRONG else "warn"
    return [
        Finding(
            check="gradients",
            name="numerical against analytic",
            status=status,
            value=worst if np.isfinite(worst) else str(worst),
            threshold=f"relative error at most {good:g}; above {WRONG:g} fails",
            meaning={
                "pass": f"They agree along {DIRECTIONS} random directions.",
                "warn": "They agree roughly; a kink of the loss can explain it.",
                "fail": "They disagree: training would not go downhill.",
            }[status],
            todo="" if status == "pass" else "Look at the derivative of the loss and of the penalty.",
            details=[{"direction": i, "relative_error": error} for i, error in enumerate(errors)],
        )
    ]


def relative_error(a: float, b: float) -> float:
    """Return the difference of two numbers relative to the larger; 0 for two zeros."""
    larger = max(abs(a), abs(b))
    return abs(a - b) / larger if larger else 0.0


def _error_along(
    problems: Problems, loss: Loss, theta: NDArray[np.float64], direction: NDArray[np.float64]
) -> float:
    def along(step: float) -> float:
        return objective(problems, theta + step * direction, L2, loss)[0]

    analytic = float((objective(problems, theta, L2, loss)[1] * direction).sum())
    numerical = [(along(h) - along(-h)) / (2 * h) for h in STEPS]
    return min(relative_error(analytic, slope) for slope in numerical)
