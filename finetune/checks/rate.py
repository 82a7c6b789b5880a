"""How the loss answers to the learning rate, and how large an update is beside the weights.

A hundred steps of plain gradient descent at each of fifteen rates, all side by side. Too small a rate
learns nothing, too large a one diverges; the best should lie well between. By then an update should be
about a thousandth of the weights (CS231n, "Ratio of weights:updates").
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.trained_part import draw, loss_of, problems_of

__all__ = ["check"]

RATES = 10.0 ** np.arange(-6, 1.5, 0.5)
STEPS = 100
IMAGES = 200
L2 = 1e-3

#: The best rate has to bring the loss down to this share of the first.
LEARNED = 0.9

#: Largest update : weight at the best rate, two decades above a thousandth. There is no smallest one: what
#: has learned all there is hardly moves.
RATIO = 0.1


def check(subject: Subject) -> list[Finding]:
    """Draw the curve.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``learning rate`` and ``update : weight``.
    """
    first, losses, ratios = _descend(subject)
    # What diverged is worse than any number, but JSON has no infinity.
    usable = np.where(np.isfinite(losses), losses, np.inf)
    best = int(usable.argmin())
    curve: list[dict[str, Any]] = [
        {"rate": float(rate), "loss": _finite(loss), "update_to_weight": _finite(ratio)}
        for rate, loss, ratio in zip(RATES, losses, ratios, strict=True)
    ]
    learned = bool(usable[best] <= LEARNED * first)
    border = best in (0, len(RATES) - 1)
    status: Status = "fail" if not learned else "warn" if border else "pass"
    usual = bool(ratios[best] <= RATIO)
    return [
        Finding(
            check="rate",
            name="learning rate",
            status=status,
            value=float(RATES[best]),
            threshold=f"inside {RATES[0]:g} to {RATES[-1]:.2g}, loss below {LEARNED:.0%} of the first",
            meaning=f"{STEPS} steps at {RATES[best]:.2g} change the loss {first:.3g} to {usable[best]:.3g}."
            + (" The best rate is the end of those tried." if border else ""),
            todo=""
            if status == "pass"
            else "Look at the scale of the features: is the standardisation left out?",
            details=curve,
        ),
        Finding(
            check="rate",
            name="update : weight",
            status="pass" if usual else "warn",
            value=_finite(ratios[best]),
            threshold=f"at most {RATIO:g}; about 1e-3 is usual, less at the end",
            meaning=f"At that rate, the last update is {ratios[best]:.1e} of the weights.",
            todo="" if usual else "Choose a smaller rate: the weights do not settle.",
        ),
    ]


def _descend(subject: Subject) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The first loss, and by rate the last loss and the last update beside the weights."""
    problems, loss = problems_of(subject, draw(subject, IMAGES), copies=len(RATES)), loss_of(subject)
    theta = problems.start()
    rates = RATES[:, None].astype(np.float32)
    # Diverging is a result here, not an accident.
    with np.errstate(all="ignore"):
        first = float(problems.objective(theta, L2, loss)[0][0])
        for _ in range(STEPS):
            update = rates * problems.objective(theta, L2, loss)[1]
            theta = theta - update
        losses = problems.objective(theta, L2, loss)[0]
        ratios = np.linalg.norm(update, axis=1) / np.linalg.norm(theta, axis=1)
    return first, losses, ratios.astype(np.float64)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
