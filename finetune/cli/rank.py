"""``finetune rank``: which network serves one's own images."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json
from finetune.cli.screen import log

if TYPE_CHECKING:
    from finetune.auto.rank import Ranking

__all__ = ["rank"]


def rank(
    *,
    data: DataFlags | None = None,
    models: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative_iterable="",
            help="Networks to rank; by default those on this machine.",
        ),
    ] = None,
    allow_download: Annotated[
        bool, Parameter(negative="", help="Rank networks of the registry that have to be downloaded, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Rank networks by a probe on these images, cross-validated on the training images.

    All networks start with a quarter of the training images; the better half goes on with a half, and of
    these the better half with all. Held-out images are not looked at.
    """
    from finetune.auto.rank import rank
    from finetune.auto.study import networks_here
    from zoo.cli.console import print_json
    from zoo.registry.registry import load_registry

    data = data or DataFlags()
    registry = load_registry(data.registry)
    found = rank(
        data.request(),
        models or networks_here(registry, allow_download),
        registry=registry,
        offline=not (models or allow_download),
        log=log,
    )
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)


def _print(found: "Ranking") -> None:
    from rich.markup import escape
    from rich.table import Table

    from zoo.cli.console import stdout

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    headings = ("network", "accuracy", "95% interval", "log loss", "images", "GMACs", "ms an image", "")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i in (0, len(headings) - 1) else "right", no_wrap=True)
    marks = {"best": "best", "alike": "≈ best", "behind": ""}
    for row in found.networks:
        lo, hi = row.ci95
        cells = [row.name, f"{row.accuracy:.1%}", f"{lo:.1%} to {hi:.1%}", f"{row.log_loss:.3f}"]
        cells += [f"{row.n_images:,}", f"{row.gmacs:.2f}"]
        cells += [f"{row.milliseconds:.1f}" if row.milliseconds else "stored", marks[row.status]]
        table.add_row(*map(escape, cells), style="bold" if row.status == "best" else None)
    console = stdout()
    console.print(table)
    console.print(f"{found.seconds:.1f} s. Next: finetune --model {escape(found.best)}", soft_wrap=True)
