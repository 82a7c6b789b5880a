"""Images that are there twice, in one part or, worse, on both sides of the split.

Exact copies have equal digests. Near copies (compressed, scaled, brightened or mirrored anew) are found on
the 32 x 32 pixels that every run computes (:mod:`finetune.data.alike`). Their correlation alone takes any two
bright discs for one picture, so that the network's features have to be alike too. docs/check.md has the
measurements.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.checks.contract import Finding, Subject
from finetune.data.alike import alike, unit

__all__ = ["SAME_FEATURES", "Pair", "check", "find_pairs"]

#: Cosine of the features that they must have besides.
SAME_FEATURES = 0.5


@dataclass(frozen=True)
class Pair:
    """Two images that are alike; `exact` if their bytes are the same."""

    a: int
    b: int
    correlation: float
    exact: bool


def check(subject: Subject) -> list[Finding]:
    """Look for copies.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``across the split``, ``inside a part``, ``contradictions``.
    """
    pairs = find_pairs(subject.X, subject.pixels, subject.digests)
    y, parts = subject.dataset.labels, subject.parts
    across = [pair for pair in pairs if parts[pair.a] != parts[pair.b]]
    inside = [pair for pair in pairs if parts[pair.a] == parts[pair.b]]
    contrary = [pair for pair in pairs if y[pair.a] != y[pair.b]]
    return [_across(subject, across), _inside(subject, inside), _contrary(subject, contrary)]


def find_pairs(X: NDArray[np.float32], pixels: NDArray[np.float32], digests: list[str]) -> list[Pair]:
    """Find all pairs of images that are copies of each other.

    Parameters
    ----------
    X : (n, d) float32 array
        Features.
    pixels : (n, 3072) float32 array
        Colours on 32 x 32 pixels.
    digests : list of str
        SHA-256 of the images' bytes.

    Returns
    -------
    list of Pair
        The most alike first, `a` before `b`.
    """
    Z = unit(X)
    found = []
    for a, b, correlation in alike(pixels):
        exact = digests[a] == digests[b]
        if exact or Z[a] @ Z[b] >= SAME_FEATURES:
            found.append(Pair(a, b, correlation, exact))
    # A picture of one colour correlates with nothing, not even with its own copy.
    known = {(pair.a, pair.b) for pair in found}
    found += [Pair(a, b, 1.0, True) for a, b in _same_bytes(digests) if (a, b) not in known]
    return sorted(found, key=lambda pair: (-pair.exact, -pair.correlation))


def _same_bytes(digests: list[str]) -> Iterator[tuple[int, int]]:
    """Each image with the first of the same bytes."""
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        if (original := first.setdefault(digest, place)) != place:
            yield original, place


def _across(subject: Subject, pairs: list[Pair]) -> Finding:
    tested = set(subject.split.test.tolist())
    flattered = {place for pair in pairs for place in (pair.a, pair.b) if place in tested}
    share = len(flattered) / max(len(tested), 1)
    return Finding(
        check="duplicates",
        name="across the split",
        status="fail" if pairs else "pass",
        value=len(pairs),
        threshold="no pair of copies with one in training and one held out",
        meaning=f"{len(flattered)} held-out images ({share:.1%}) have a copy in training, which flatters the "
        f"held-out accuracy: {_first(subject, pairs)}."
        if pairs
        else "No held-out image has a copy in training.",
        todo="Remove one of each pair, or put both into one group (a column group in a table)."
        if pairs
        else "",
        details=_details(subject, pairs),
    )


def _inside(subject: Subject, pairs: list[Pair]) -> Finding:
    return Finding(
        check="duplicates",
        name="inside a part",
        status="warn" if pairs else "pass",
        value=len(pairs),
        threshold="no pair of copies",
        meaning=f"{len(pairs)} pairs of copies: {_first(subject, pairs)}. In training they flatter the "
        "cross-validation, among held-out images they count twice."
        if pairs
        else "No image is there twice.",
        todo="Remove one of each pair." if pairs else "",
        details=_details(subject, pairs),
    )


def _contrary(subject: Subject, pairs: list[Pair]) -> Finding:
    return Finding(
        check="duplicates",
        name="contradictions",
        status="fail" if pairs else "pass",
        value=len(pairs),
        threshold="no copies with different labels",
        meaning=f"The same picture has two labels: {_first(subject, pairs)}."
        if pairs
        else "Copies, if any, have one label.",
        todo="Find out which label is right and remove the other image." if pairs else "",
        details=_details(subject, pairs),
    )


def _first(subject: Subject, pairs: list[Pair]) -> str:
    names = subject.dataset.names
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return f"{names[pairs[0].a]} and {names[pairs[0].b]}{more}"


def _details(subject: Subject, pairs: list[Pair]) -> list[dict[str, Any]]:
    names = subject.dataset.names
    return [
        {"a": names[pair.a], "b": names[pair.b], "exact": pair.exact, "correlation": pair.correlation}
        for pair in pairs[:100]
    ]
