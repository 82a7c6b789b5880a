"""Images of one thing (:mod:`finetune.data.copies`): across the split, and with different labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, listed
from finetune.data.copies.copies import Pair
from finetune.trust import held_out_with_copy

__all__ = ["Duplicates"]

#: Share of the held-out images with a copy in training from which the accuracy is not to be believed.
TOO_MANY = 0.01


class Duplicates(Check):
    """Copies of held-out images in training, groups of copies, and copies with different labels."""

    name = "duplicates"

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Report where the copies are."""
        return [self._across(context), self._groups(context), self._labels(context)]

    def _across(self, context: CheckContext) -> CheckResult:
        experiment = context.experiment
        groups = experiment.copies.copies.groups
        copied = experiment.split.test[held_out_with_copy(experiment)]
        crossing = set(groups[copied].tolist())
        share = len(copied) / max(len(experiment.split.test), 1)
        names = [context.dataset.names[i] for i in copied]
        pairs = [pair for pair in experiment.copies.copies.pairs if groups[pair.a] in crossing]
        return self.result(
            "across the split",
            "fail" if share >= TOO_MANY else "warn" if len(copied) else "pass",
            len(copied),
            f"no held-out image with a copy in training; {TOO_MANY:.0%} of them fail",
            f"{share:.1%} of the held-out images have a copy in training, which makes the accuracy too"
            f" good: {listed(names)}."
            if len(copied)
            else "No held-out image has a copy in training.",
            "Trust the accuracy without copies (test.without_copies of a run), or draw another split.",
            _details(context, pairs),
        )

    def _groups(self, context: CheckContext) -> CheckResult:
        copies, ignored = context.experiment.copies.copies, context.experiment.request.copies == "ignore"
        return self.result(
            "groups",
            "warn" if ignored and copies.pairs else "pass",
            copies.n_images,
            "copies are kept together in every split and fold",
            f"{copies.n_images} images are copies or further images of one thing, in {copies.n_groups} groups"
            f" of up to {copies.largest}. "
            + ("--copies ignore lets them straddle folds." if ignored else "They are kept together.")
            if copies.pairs
            else "No copies were found.",
            "Leave out --copies ignore.",
            _details(context, copies.pairs),
        )

    def _labels(self, context: CheckContext) -> CheckResult:
        conflicts, names = context.experiment.copies.conflicts, context.dataset.names
        return self.result(
            "different labels",
            "warn" if conflicts else "pass",
            len(conflicts),
            "no copies with different labels",
            f"Copies have different labels: {listed([f'{names[p.a]} and {names[p.b]}' for p in conflicts])}."
            if conflicts
            else "Copies, if any, have the same label.",
            "Check which label is right, and correct or remove the other image.",
            _details(context, conflicts),
        )


def _details(context: CheckContext, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    names = context.dataset.names
    return [{"a": names[pair.a], "b": names[pair.b], "kind": pair.kind} for pair in pairs[:100]]
