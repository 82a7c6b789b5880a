"""``finetune check``: what would spoil a training."""

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
    """Look for what would spoil a training: in the images, their labels, and the training itself.

    Each line says what was found, what it should be, and what to do. The exit code is 1 if a check fails.
    """
    from finetune import checks
    from finetune.checks.tables import print_checks
    from zoo.cli.console import print_json, stdout
    from zoo.registry.registry import load_registry

    data = data or DataFlags()
    found = checks.check(
        data.request(model),
        strategy,
        out=out,
        registry=load_registry(data.registry),
        log=log,
        **given(options),
    )
    if json:
        print_json(found.to_dict())
    else:
        print_checks(found, stdout())
    return 1 if found.status == "fail" else 0
