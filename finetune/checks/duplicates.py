"""Copies of an image: in one split, or on both sides of it, where they make the accuracy too good."""

from __future__ import annotations

from typing import Any

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult
from finetune.checks.pairs import Pair, find_pairs

__all__ = ["Duplicates"]


class Duplicates(Check):
    """Pairs of images that are copies of each other."""

    name = "duplicates"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Find the pairs and say where they are."""
        pairs = find_pairs(context.experiment)
        y, splits = context.dataset.labels, context.splits
        across = [pair for pair in pairs if splits[pair.a] != splits[pair.b]]
        within = [pair for pair in pairs if splits[pair.a] == splits[pair.b]]
        contrary = [pair for pair in pairs if y[pair.a] != y[pair.b]]
        return [
            self._across(context, across),
            self._within(context, within),
            self._contrary(context, contrary),
        ]

    def _across(self, context: CheckContext, pairs: list[Pair]) -> CheckResult:
        held_out = set(context.experiment.split.test.tolist())
        known = {place for pair in pairs for place in (pair.a, pair.b) if place in held_out}
        return self.result(
            "across the split",
            "fail" if pairs else "pass",
            len(pairs),
            "no pair with one image in training and one held out",
            f"{len(known)} held-out images ({len(known) / max(len(held_out), 1):.1%}) have a copy in"
            f" training, which makes the held-out accuracy too good: {_first(context, pairs)}."
            if pairs
            else "No held-out image has a copy in training.",
            "Remove one of each pair, or put both into one group (a column group in a table, or --group-by).",
            _details(context, pairs),
        )

    def _within(self, context: CheckContext, pairs: list[Pair]) -> CheckResult:
        return self.result(
            "within a split",
            "warn" if pairs else "pass",
            len(pairs),
            "no pair of copies",
            f"{len(pairs)} pairs of copies: {_first(context, pairs)}. In training they make the"
            " cross-validation too good, among held-out images they count twice."
            if pairs
            else "No image has a copy in its own split.",
            "Remove one of each pair.",
            _details(context, pairs),
        )

    def _contrary(self, context: CheckContext, pairs: list[Pair]) -> CheckResult:
        return self.result(
            "different labels",
            "warn" if pairs else "pass",
            len(pairs),
            "no copies with different labels",
            f"The same image has two labels: {_first(context, pairs)}."
            if pairs
            else "Copies, if any, have the same label.",
            "Find out which label is right, and remove the other image.",
            _details(context, pairs),
        )


def _first(context: CheckContext, pairs: list[Pair]) -> str:
    names = context.dataset.names
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return f"{names[pairs[0].a]} and {names[pairs[0].b]}{more}"


def _details(context: CheckContext, pairs: list[Pair]) -> list[dict[str, Any]]:
    names = context.dataset.names
    return [{"a": names[pair.a], "b": names[pair.b], "exact": pair.exact} for pair in pairs[:100]]
