"""Which methods differ, and in words what that means.

Two methods count as different by McNemar's exact test on the held-out images (on whole groups, where there
are any) at 5%, after Holm's adjustment for all pairs of the table. All pairs and not only those with the
best: the best is known only after the evaluation, so that a comparison with it is one with whichever was
luckiest. Then of any number of equally good methods, in 95 tables of 100 none is called worse than another.

The folds are a second opinion. They rest on the training images, so they can see differences that the
held-out images are too few for; but their test is an approximation, and never overrules the other.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.compare.record import FoldTest, HeldOutTest, MethodResult, Pair
from finetune.evaluation.comparisons import Difference, Disagreement, corrected_resampled_t, holm, mcnemar

__all__ = ["LEVEL", "labels", "like_best", "pairs", "ranked", "verdict"]

LEVEL = 0.05
"""Of all tests."""

#: Below these, a difference in cost is not worth a sentence.
TIMES, SECONDS = 2.0, 1.0


def ranked(results: Sequence[MethodResult]) -> list[MethodResult]:
    """Sort by accuracy on the held-out images; then on the folds; then by training time."""
    return sorted(
        results, key=lambda r: (-r.test.accuracy, -(r.folds.mean if r.folds else 0), r.seconds, r.name)
    )


def labels(results: Sequence[MethodResult]) -> list[str]:
    """Name the methods, with their networks where there are several."""
    several = len({result.model for result in results if result.model}) > 1
    return [f"{r.name} on {r.model}" if several and r.model else r.name for r in results]


def pairs(results: Sequence[MethodResult], groups: NDArray[Any] | None = None) -> list[Pair]:
    """Compare every two methods.

    Parameters
    ----------
    results : sequence of MethodResult
        In the order of :func:`ranked`, on the same held-out images and folds.
    groups : (n,) array, optional
        Of the held-out images; results are exchanged between two methods by whole groups.

    Returns
    -------
    list of Pair
        With p-values adjusted by Holm for all held-out tests, and for all fold tests.
    """
    names = labels(results)
    couples = list(combinations(range(len(results)), 2))
    held_out = [mcnemar(_correct(results[i]), _correct(results[j]), groups) for i, j in couples]
    on_folds = [_fold_difference(results[i], results[j]) for i, j in couples]
    adjusted = holm([test.p_value for test in held_out])
    fold_adjusted = iter(holm([test.p_value for test, _ in filter(None, on_folds)]))
    return [
        Pair(
            a=names[i],
            b=names[j],
            held_out=_held_out(test, float(p)),
            folds=_folds(*folds, float(next(fold_adjusted))) if folds else None,
            different=bool(p <= LEVEL),
        )
        for (i, j), test, folds, p in zip(couples, held_out, on_folds, adjusted, strict=True)
    ]


def like_best(results: Sequence[MethodResult], tested: Sequence[Pair]) -> list[str]:
    """Return the labels of those that do not differ significantly from the best, which comes first."""
    best = labels(results)[0]
    return [pair.b for pair in tested if pair.a == best and not pair.different]


def verdict(results: Sequence[MethodResult], tested: Sequence[Pair]) -> str:
    """Return in words what the table shows.

    Parameters
    ----------
    results : sequence of MethodResult
        In the order of :func:`ranked`; at least one.
    tested : sequence of Pair
        Of :func:`pairs`.

    Returns
    -------
    str
        Some sentences.
    """
    names = labels(results)
    by_name = dict(zip(names, results, strict=True))
    best, first = names[0], results[0]
    lo, hi = first.test.ci95
    n = first.test.n
    mine = [pair for pair in tested if pair.a == best]
    same, worse = [p for p in mine if not p.different], [p for p in mine if p.different]
    sentences = [
        f"{best} has an accuracy of {first.test.accuracy:.1%} on {n} held-out images ({lo:.1%} to {hi:.1%})."
    ]
    for pair in same:
        sentences.append(
            f"{best} and {pair.b} do not differ significantly on {n} images ({_p(pair.held_out.p_holm)})"
            + _cost(best, first, pair.b, by_name[pair.b])
            + "."
        )
    if worse:
        others = _and([pair.b for pair in worse])
        sentences.append(
            f"{best} is better than {others} ({_p(max(p.held_out.p_holm for p in worse), True)})."
        )
    sentences += [_second_opinion(pair) for pair in mine if _disagrees(pair)]
    if references := [p.b for p in same if by_name[p.b].kind == "reference"]:
        sentences.append(
            f"So these images have not shown that a pretrained network helps: {_and(references)} "
            f"{'do' if len(references) > 1 else 'does'} without one."
        )
    return " ".join(sentences)


def _correct(result: MethodResult) -> list[bool]:
    return [mark == "1" for mark in result.correct]


def _held_out(test: Disagreement, p_holm: float) -> HeldOutTest:
    return HeldOutTest(only_a=test.only_a, only_b=test.only_b, p_value=test.p_value, p_holm=p_holm)


def _folds(test: Difference, n: int, p_holm: float) -> FoldTest:
    return FoldTest(difference=test.mean, ci95=test.ci95, folds=n, p_value=test.p_value, p_holm=p_holm)


def _fold_difference(a: MethodResult, b: MethodResult) -> tuple[Difference, int] | None:
    """Over the folds that both have: a costly method may have done fewer repetitions."""
    if a.folds is None or b.folds is None:
        return None
    n = min(len(a.folds.accuracies), len(b.folds.accuracies))
    if n < 2:
        return None
    difference = np.subtract(a.folds.accuracies[:n], b.folds.accuracies[:n])
    return corrected_resampled_t(difference, a.folds.n_train, a.folds.n_test), n


def _disagrees(pair: Pair) -> bool:
    """Whether the folds show a difference that the held-out images do not show, or the opposite one."""
    if pair.folds is None or pair.folds.p_holm > LEVEL:
        return False
    return not pair.different or pair.folds.difference < 0


def _second_opinion(pair: Pair) -> str:
    assert pair.folds is not None
    ahead, behind = (pair.a, pair.b) if pair.folds.difference > 0 else (pair.b, pair.a)
    lo, hi = sorted(abs(end) for end in pair.folds.ci95)
    return (
        f"Over {pair.folds.folds} folds of the training images, though, {ahead} is "
        f"{100 * abs(pair.folds.difference):.1f} points ahead of {behind} "
        f"({100 * lo:.1f} to {100 * hi:.1f}, {_p(pair.folds.p_holm)})."
    )


def _cost(a: str, first: MethodResult, b: str, second: MethodResult) -> str:
    """Which of two is cheaper to train, where it matters."""
    (cheap, low), (_, high) = sorted([(a, first.seconds), (b, second.seconds)], key=lambda item: item[1])
    times = high / max(low, 0.01)
    if times < TIMES or high - low < SECONDS:
        return ""
    return f"; {cheap} is {times:.0f} times cheaper to train ({low:.1f} s against {high:.1f} s)"


def _p(value: float, at_most: bool = False) -> str:
    if value < 0.001:
        return "p < 0.001"
    return f"p {'≤' if at_most else '='} {value:.2f}" if value >= 0.01 else f"p = {value:.3f}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
