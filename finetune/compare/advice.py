"""What to do next, by a rule of thumb (:mod:`finetune.likeness`), where the table does not know better."""

from collections.abc import Sequence

from finetune.compare.record import MethodResult, Pair
from finetune.compare.verdict import labels
from finetune.likeness import Likeness, rule
from finetune.methods import METHODS

__all__ = ["advice"]


def advice(
    results: Sequence[MethodResult], tested: Sequence[Pair], images_a_class: int, alike: Likeness
) -> str:
    """Return what to use and what to try next, in accordance with the table.

    Parameters
    ----------
    results : sequence of MethodResult
        The best first.
    tested : sequence of Pair
        Every two of them.
    images_a_class : int
        Training images of the median class.
    alike : Likeness

    Returns
    -------
    str
        Some sentences. What it recommends is the best, or not significantly worse.
    """
    names = labels(results)
    different = {pair.b for pair in tested if pair.a == names[0] and pair.different}
    top = [(name, r) for name, r in zip(names, results, strict=True) if name not in different]
    if any(result.kind == "reference" for _, result in top):
        return (
            "Nothing here is significantly better than a method without a CNN: look for wrong labels among "
            "the mistakes that a run's report shows, and gather more images before training longer."
        )
    wanted, reason = rule(images_a_class, alike)
    agreeing = [name for name, result in top if result.name == wanted]
    if agreeing:
        return f"Use {agreeing[0]}: {reason}."
    tried = [name for name, result in zip(names, results, strict=True) if result.name == wanted]
    if tried:
        return (
            f"Use {names[0]}. The rule of thumb suggests {wanted}, because {reason}; "
            f"but here {tried[0]} is worse."
        )
    following = f"try {wanted} next" if wanted in METHODS else "training more than a classifier may pay"
    return f"Use {names[0]} for now, and {following}: {reason}."
