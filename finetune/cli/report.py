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
    from finetune.report import write_report
    from finetune.report.rearrange import rearrange
    from finetune.runs import Run

    found = Run.load(run)
    if map is not None:
        rearrange(found, map)
    print(write_report(found, run))
