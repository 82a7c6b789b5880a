"""``finetune resume``: continue a training that was interrupted."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune.cli.flags import Json
from finetune.cli.screen import log, print_result

__all__ = ["resume"]


def resume(
    run: Annotated[Path, Parameter(help="The run, as it was named when the training began.")],
    *,
    json: Json = False,
) -> None:
    """Continue a training that was interrupted; the result is that of one never stopped."""
    from finetune.auto import resume_auto
    from finetune.train import resume

    print_result(resume_auto(run, log=log) or resume(run, log=log), json)
