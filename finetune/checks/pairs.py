"""Which images are copies of each other.

Exact copies have equal digests. Near copies (compressed, scaled, brightened or mirrored) correlate on the
32 x 32 pixels that every run computes (:mod:`finetune.data.alike`), and have similar features, for any two
bright discs correlate. docs/check.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finetune.data.alike import alike, unit
from finetune.experiment import Experiment

__all__ = ["Pair", "find_pairs"]

#: Least cosine of the features of near copies.
SAME_FEATURES = 0.5


@dataclass(frozen=True)
class Pair:
    """The places of two copies, `a` before `b`; `exact` if their bytes are the same."""

    a: int
    b: int
    exact: bool


def find_pairs(experiment: Experiment) -> list[Pair]:
    """Return all pairs of copies, the most alike first."""
    Z, digests = unit(experiment.matrices[experiment.backbone.name]), experiment.digests
    correlations = {(a, b): correlation for a, b, correlation in alike(experiment.matrices["pixels"])}
    near = {pair: c for pair, c in correlations.items() if Z[pair[0]] @ Z[pair[1]] >= SAME_FEATURES}
    # An image of one colour correlates with nothing, not even with its own copy.
    exact = {(a, b): 2.0 for (a, b) in correlations if digests[a] == digests[b]}
    exact |= dict.fromkeys(_same_bytes(digests), 2.0)
    found = sorted((near | exact).items(), key=lambda item: -item[1])
    return [Pair(a, b, (a, b) in exact) for (a, b), _ in found]


def _same_bytes(digests: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each image with the first of the same bytes."""
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        if (original := first.setdefault(digest, place)) != place:
            yield original, place
