"""Does an update change what is trained, and nothing else? Compared byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from finetune.checks.context import CheckContext
from finetune.checks.contract import Check, CheckResult, listed

if TYPE_CHECKING:
    from finetune.checks.network_part import NetworkPart

__all__ = ["Frozen"]

BATCH = 8


class Frozen(Check):
    """What one update changes: parameters, and statistics of batch normalisations."""

    name = "frozen"

    def applies(self, context: CheckContext) -> bool:
        """Only where a network's own parameters are trained."""
        return context.trainable is not None and context.trainable.is_network

    def run(self, context: CheckContext) -> list[CheckResult]:
        """Make one update and compare."""
        part = cast("NetworkPart", context.trainable)
        changed = part.changed_by_update(part.rows(BATCH))
        wrongly = sorted(changed - part.trained - part.followed_statistics())
        unchanged = sorted(part.trained - changed)
        return [self._frozen(part.n_frozen, wrongly), self._trained(len(part.trained), unchanged)]

    def _frozen(self, n_frozen: int, wrongly: list[str]) -> CheckResult:
        return self.result(
            "frozen parameters",
            "fail" if wrongly else "pass",
            len(wrongly),
            "no frozen parameter and no frozen statistic of a batch normalisation changes",
            f"An update changes {listed(wrongly)}, which should be frozen."
            if wrongly
            else f"{n_frozen} frozen tensors and the frozen statistics are the same bytes after an update.",
            "The network updates itself outside the optimizer: try another network.",
            [{"tensor": name} for name in wrongly],
        )

    def _trained(self, n_trained: int, unchanged: list[str]) -> CheckResult:
        return self.result(
            "trained parameters",
            "fail" if len(unchanged) == n_trained else "warn" if unchanged else "pass",
            n_trained - len(unchanged),
            f"all {n_trained} trained tensors change",
            f"An update leaves {listed(unchanged)} unchanged."
            if unchanged
            else "An update changes all of them.",
            "Look for dead layers (activations): their parameters get no gradient.",
            [{"tensor": name} for name in unchanged],
        )
