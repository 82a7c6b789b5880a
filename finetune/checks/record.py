"""``check.json``: the results of all checks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from finetune.checks.contract import CheckResult
from finetune.runs import Environment, RunFolder
from finetune.runs.plain import PlainModel

__all__ = ["SCHEMA", "CheckFolder", "CheckRecord"]

SCHEMA = 1
"""Version of ``check.json``; it rises whenever a key is added, removed or changes its meaning."""


class CheckRecord(PlainModel):
    """Everything that ``finetune check --json`` prints.

    Attributes
    ----------
    schema_version : int
        The key ``schema``: version of this format.
    status : str
        The worst of all results.
    strategy, model, data : str
        As the user gave them.
    weights_sha256 : str
        Digest of the network's weights file.
    n_train, n_test : int
        Images in each split.
    classes : list of str
        Their names.
    checks : list of CheckResult
        In the order of the checks.
    images : list of dict
        All images, the likeliest label error or outlier first; see
        :class:`finetune.checks.label_ranking.RankedImage`.
    warnings : list of str
        About the data and its split, as a training gives them.
    seconds : dict of str to float
        Wall-clock time by check, and ``total``.
    environment : Environment
    seed : int
    command : str
        The command that repeats the check.
    created : str
        When, ISO 8601 in UTC.
    path : Path
        Its folder.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    status: str
    strategy: str
    model: str
    data: str
    weights_sha256: str
    n_train: int
    n_test: int
    classes: list[str]
    checks: list[CheckResult]
    images: list[dict[str, Any]]
    warnings: list[str]
    seconds: dict[str, float]
    environment: Environment
    seed: int
    command: str
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return self.model_dump(mode="json", by_alias=True)


class CheckFolder(RunFolder):
    """A check's folder: written whole or not at all, like a run's."""

    record: ClassVar[str] = "check.json"
    parts: ClassVar[frozenset[str]] = frozenset({"check.json", "check.html", "pictures"})
