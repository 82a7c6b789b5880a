"""``finetune auto``: the best classifier that some minutes can give."""

from typing import Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json, Out
from finetune.cli.screen import log, print_result

__all__ = ["auto"]


def auto(
    *,
    data: DataFlags | None = None,
    minutes: Annotated[float, Parameter(help="Time for everything.")] = 5.0,
    models: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative_iterable="",
            help="Networks that may be tried, the usual one first; by default those on this machine.",
        ),
    ] = None,
    allow_download: Annotated[
        bool, Parameter(negative="", help="Try networks of the registry that have to be downloaded, too.")
    ] = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Try strategies and networks within some minutes, and keep the best as a run.

    Candidates are cross-validated on the same folds, the quick ones first; what would take longer than the
    time that is left is not begun. The held-out images are evaluated once, for the winner, with the plain
    probe beside it for the record. After Ctrl-C the best so far is kept; if stopped otherwise, it continues
    with `finetune resume`.
    """
    from finetune.auto import auto
    from finetune.auto.tables import print_leaderboard
    from zoo.cli.console import stdout

    data = data or DataFlags()
    run = auto(
        data.request(),
        minutes,
        models=models or (),
        allow_download=allow_download,
        out=out,
        registry=data.registry,
        log=log,
    )
    print_result(run, json)
    if not json and run.leaderboard is not None:
        print_leaderboard(run.leaderboard, stdout())
