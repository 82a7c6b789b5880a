"""``finetune check``: checks before a training."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json, MethodFlags, Model, Strategy, given
from finetune.cli.screen import log
from finetune.experiment import DEFAULT_MODEL

__all__ = ["check"]


def check(
    *,
    data: DataFlags | None = None,
    model: Model = DEFAULT_MODEL,
    strategy: Strategy = "probe",
    out: Annotated[
        Path | None, Parameter(help="Folder for the results; by default a new one below runs/.")
    ] = None,
    options: MethodFlags | None = None,  # type: ignore[valid-type]
    json: Json = False,
) -> int:
    """Check the images, their labels and the training, before much time is spent on a training.

    Each line gives a value, what it should be, and what to do. The exit code is 1 if a check fails: then the
    results of a training would be wrong.
    """
    from finetune import checks
    from finetune.checks.tables import print_checks
    from zoo.cli.console import print_json, stdout

    data = data or DataFlags()
    record = checks.check(
        data.request(model),
        strategy,
        out=out,
        registry=data.registry,
        log=log,
        **given(options),
    )
    if json:
        print_json(record.to_dict())
    else:
        print_checks(record, stdout())
    return 1 if record.status == "fail" else 0
