"""The contract of a check: what it is given and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from finetune.checks.context import CheckContext
from finetune.runs.plain import PlainModel

__all__ = ["STATUSES", "Check", "CheckResult", "Status", "listed", "worst"]

Status = Literal["pass", "warn", "fail"]

#: From the best to the worst.
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail")


class CheckResult(PlainModel):
    """One row of the table.

    Attributes
    ----------
    check : str
        The check that it comes from, such as ``data``.
    name : str
        What was checked, such as ``class sizes``.
    status : str
        ``pass``; ``warn``: worth a look; ``fail``: the results of a training would be wrong.
    value : float, str or None
        What was measured.
    threshold : str
        What the value should be.
    meaning : str
        What the value means for these images, in a sentence.
    fix : str
        What to do; empty where there is nothing to do.
    details : list
        The data behind it, for programs and for the page.
    """

    check: str
    name: str
    status: Status
    value: float | str | None
    threshold: str
    meaning: str
    fix: str = ""
    details: list[dict[str, Any]] = Field(default_factory=list)


class Check(ABC):
    """A check. One class in a file, and one line in :mod:`finetune.checks.order`.

    Attributes
    ----------
    name : str
        In the table and in ``check.json``.
    """

    name: ClassVar[str]

    def applies(self, context: CheckContext) -> bool:
        """Return whether the check means anything for what is trained."""
        return True

    @abstractmethod
    def run(self, context: CheckContext) -> list[CheckResult]:
        """Return the rows of the table."""

    def result(
        self,
        name: str,
        status: Status,
        value: float | str | None,
        threshold: str,
        meaning: str,
        fix: str = "",
        details: Sequence[dict[str, Any]] = (),
    ) -> CheckResult:
        """Return one row; with the `fix` unless the check passed, and the value if it is finite."""
        if isinstance(value, float) and not abs(value) < float("inf"):
            value = str(value)
        return CheckResult(
            check=self.name,
            name=name,
            status=status,
            value=value,
            threshold=threshold,
            meaning=meaning,
            fix="" if status == "pass" else fix,
            details=list(details),
        )


def worst(statuses: Sequence[Status]) -> Status:
    """Return the worst of some statuses; ``pass`` of none."""
    return max(statuses, key=STATUSES.index, default="pass")


def listed(items: Sequence[str], most: int = 3) -> str:
    """Return a list in words, cut after a few items."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
