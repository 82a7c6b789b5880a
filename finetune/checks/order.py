"""Which checks there are, in their order, and for which strategies."""

from dataclasses import dataclass
from importlib import import_module

from finetune.checks.contract import Check

__all__ = ["CHECKS", "Entry", "checks_for"]


@dataclass(frozen=True)
class Entry:
    """A check.

    Attributes
    ----------
    name : str
        What it is called in the table. Two entries may share one where strategies differ in how it is done.
    module : str
        Where its function ``check`` stands, below ``finetune.checks``.
    strategies : tuple of str or None
        For which it is; None for all.
    """

    name: str
    module: str
    strategies: tuple[str, ...] | None = None

    def load(self) -> Check:
        """Import the check's function."""
        function: Check = import_module(f"finetune.checks.{self.module}").check
        return function


#: The strategies that train a network's own parameters.
NETWORK = ("last-layers", "full")

CHECKS = (
    Entry("data", "data"),
    Entry("duplicates", "duplicates"),
    Entry("suspects", "suspects"),
    Entry("preprocessing", "preprocessing"),
    Entry("first-loss", "first_loss", ("probe",)),
    Entry("gradients", "gradients", ("probe",)),
    Entry("overfit", "overfit", ("probe",)),
    Entry("rate", "rate", ("probe",)),
    Entry("first-loss", "network.first_loss", NETWORK),
    Entry("gradients", "network.gradients", NETWORK),
    Entry("overfit", "network.overfit", NETWORK),
    Entry("rate", "network.rate", NETWORK),
    Entry("activations", "network.activations", NETWORK),
    Entry("frozen", "network.frozen", NETWORK),
    Entry("shuffled", "shuffled"),
)


def checks_for(strategy: str) -> list[Entry]:
    """Return the checks of a strategy, in their order."""
    return [entry for entry in CHECKS if entry.strategies is None or strategy in entry.strategies]
