"""Which candidate is ahead, from what each predicts of training images that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.auto.outcome import Outcome
from finetune.evaluation.comparisons import standard_error
from finetune.evaluation.selection import CorrectedAccuracy, choose_candidate, corrected_accuracy

__all__ = ["Gain", "Standing"]

#: Standard errors by which a candidate's loss must exceed another's to be dropped as clearly beaten.
CLEARLY = 2.0


class Gain(NamedTuple):
    """How much lower the log loss of one candidate is than that of another, on the same images.

    Attributes
    ----------
    mean : float
    error : float
        Its standard error, from the paired differences of images or groups.
    """

    mean: float
    error: float

    @property
    def real(self) -> bool:
        """Whether it is more than one standard error."""
        return self.mean > self.error

    @property
    def clearly_beaten(self) -> bool:
        """Whether the first is clearly worse than the second."""
        return -self.mean > CLEARLY * self.error > 0 or (self.error == 0 and self.mean < 0)


@dataclass(frozen=True, eq=False)
class Standing:
    """Candidates beside each other.

    Attributes
    ----------
    labels : (n,) int array
        Of the training images.
    groups : (n,) array or None
        Theirs.
    """

    labels: NDArray[np.int64]
    groups: NDArray[Any] | None

    def gain(self, a: Outcome, b: Outcome) -> Gain:
        """Return how much lower the loss of `a` is than that of `b`, on the images that they share."""
        rows = np.intersect1d(a.rows, b.rows)
        gains = b.losses(self.labels)[b.at(rows)] - a.losses(self.labels)[a.at(rows)]
        return Gain(float(gains.mean()), standard_error(gains, self._groups(rows)))

    def best(self, outcomes: Sequence[Outcome]) -> Outcome:
        """Return the chosen candidate.

        Among those that are judged on all training images, as
        :func:`finetune.evaluation.selection.choose_candidate` does. One that is judged on fewer images takes
        its place where :meth:`prefers` says so.
        """
        whole, partial = self._divided(outcomes)
        losses = np.stack([each.losses(self.labels)[each.at(np.arange(len(self.labels)))] for each in whole])
        best = whole[choose_candidate(losses, np.array([each.cost for each in whole]), self.groups)]
        for each in partial:
            if self.prefers(each, best):
                best = each
        return best

    def prefers(self, partial: Outcome, best: Outcome) -> bool:
        """Return whether a candidate that is judged on fewer images takes the place of the best.

        Its loss on these must be lower: by more than one standard error, or else its predictions must cost no
        more.
        """
        gain = self.gain(partial, best)
        return gain.real or (gain.mean > 0 and partial.cost <= best.cost)

    def alike(self, outcome: Outcome, best: Outcome, outcomes: Sequence[Outcome]) -> bool:
        """Return whether a candidate cannot be told from the one with the lowest loss."""
        whole, _ = self._divided(outcomes)
        if len(best.rows) < len(self.labels):
            lowest = best
        else:
            lowest = min(whole, key=lambda each: float(each.losses(self.labels).mean()))
        return not self.gain(lowest, outcome).real

    def corrected(self, best: Outcome, outcomes: Sequence[Outcome], seed: int) -> CorrectedAccuracy:
        """Return the accuracy of the chosen candidate, corrected for having been chosen."""
        rows = best.rows
        rivals = [each for each in outcomes if np.isin(rows, each.rows).all()]
        losses = np.stack([each.losses(self.labels)[each.at(rows)] for each in rivals])
        correct = np.stack([each.correct(self.labels)[each.at(rows)] for each in rivals])
        costs = np.array([each.cost for each in rivals])
        place = next(i for i, each in enumerate(rivals) if each is best)
        return corrected_accuracy(losses, correct, costs, place, self._groups(rows), random_state=seed)

    def _divided(self, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
        tried = [each for each in outcomes if each.status == "tried"]
        whole = [each for each in tried if len(each.rows) == len(self.labels)]
        return whole, [each for each in tried if len(each.rows) < len(self.labels)]

    def _groups(self, rows: NDArray[np.int64]) -> NDArray[Any] | None:
        return None if self.groups is None else self.groups[rows]
