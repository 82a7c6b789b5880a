"""``finetune compare``: which method is best on one's own images."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json
from finetune.cli.screen import log

__all__ = ["compare"]


def compare(
    *,
    data: DataFlags | None = None,
    model: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True, negative_iterable="", help="Networks, as for training; one or several."
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative_iterable="",
            help="Strategies, baselines and references; by default all quick ones.",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        Parameter(
            help="Repetitions of the cross-validation; 0 for none. By default 3, and 1"
            " for methods that train the network itself."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder for the results, which are not computed again; by default runs/<data>-compare."
        ),
    ] = None,
    csv: Annotated[Path | None, Parameter(help="Write the table there as CSV.")] = None,
    markdown: Annotated[Path | None, Parameter(help="Write the table there as Markdown.")] = None,
    json: Json = False,
) -> int:
    """Compare methods on the same held-out images and the same folds, and test which differ.

    The exit code is 1 if a network is unavailable and the others were compared without it.
    """
    from finetune import compare as room
    from finetune.compare.tables import print_comparison, to_csv, to_markdown
    from finetune.experiment import DEFAULT_MODEL
    from zoo.cli.console import print_json, stdout
    from zoo.registry.registry import load_registry

    data = data or DataFlags()
    found = room.compare(
        data.request(*(model or [DEFAULT_MODEL])),
        methods or room.DEFAULT_METHODS,
        repeats=repeats,
        out=out,
        registry=load_registry(data.registry),
        log=log,
    )
    for path, text in ((csv, to_csv), (markdown, to_markdown)):
        if path is not None:
            _write(path, text(found))
    if json:
        print_json(found.to_dict())
    else:
        print_comparison(found, stdout())
    return 1 if found.failed else 0


def _write(path: Path, text: str) -> None:
    from finetune.errors import RunError
    from zoo.writing import write_text

    try:
        write_text(path, text)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}).", "Choose another place."
        ) from error
