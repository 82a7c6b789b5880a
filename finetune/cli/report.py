"""``finetune report``: write a run's report again."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

__all__ = ["report"]


def report(
    run: Annotated[Path, Parameter(help="A run folder.")],
    *,
    map: Annotated[
        Literal["pca", "tsne", "umap"] | None,
        Parameter(
            help="Arrange the map of the features anew; the features are computed again where they are not"
            " stored. tsne and umap (an extra: finetune-zoo[umap]) take some seconds."
        ),
    ] = None,
) -> None:
    """Write a run's report.html again."""
    from jinja2 import TemplateError

    from finetune.errors import RunError
    from finetune.report import write_report
    from finetune.report.rearrange import rearrange
    from finetune.runs import Run

    found = Run.load(run)
    if map is not None:
        rearrange(found, map)
    try:
        page = write_report(found, run)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, TemplateError) as error:
        raise RunError(
            f"{run / 'run.json'} holds values that no run has ({error}).",
            "Copy the run anew from where it came, or train again with finetune.",
        ) from error
    print(page)
