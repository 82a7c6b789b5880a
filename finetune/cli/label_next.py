"""``finetune label-next``: which images to label next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json, Model
from finetune.cli.screen import log
from finetune.experiment import DEFAULT_MODEL

if TYPE_CHECKING:
    from finetune.labelling.next import LabelNext

__all__ = ["label_next"]


def label_next(
    *,
    data: DataFlags | None = None,
    unlabelled: Annotated[Path, Parameter(help="A folder of images that have no labels yet.")],
    n: Annotated[int, Parameter(name=["-n", "--number"], help="How many images to choose.")] = 50,
    model: Model = DEFAULT_MODEL,
    out: Annotated[
        Path | None,
        Parameter(help="Folder for the list and the contact sheet; by default a new one below runs/."),
    ] = None,
    json: Json = False,
) -> None:
    """Choose which images to label next: those whose labels teach a classifier most.

    They are images that a probe on the labelled ones is uncertain of, and that differ from each other. Images
    that are labelled already are left out.
    """
    from finetune.labelling.next import label_next, write_label_next
    from zoo.cli.console import print_json
    from zoo.registry.registry import load_registry

    data = data or DataFlags()
    found = label_next(data.request(model), unlabelled, n, registry=load_registry(data.registry), log=log)
    folder = write_label_next(found, data.data, out)
    if json:
        print_json({**found.to_dict(), "folder": str(folder)})
    else:
        _print(found, folder)


def _print(found: "LabelNext", folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from zoo.cli.console import stdout

    console = stdout()
    table = Table("", "image", "prediction", "uncertainty", box=None, pad_edge=False)
    for place, one in enumerate(found.images[:10], 1):
        table.add_row(
            str(place),
            escape(one.path),
            escape(f"{one.prediction} {one.probability:.1%}"),
            f"{one.uncertainty:.2f}",
        )
    console.print(table)
    if len(found.images) > 10:
        console.print(f"and {len(found.images) - 10} more.")
    for skipped in found.skipped[:5]:
        log(f"Not readable: {skipped['path']} ({skipped['reason']}).")
    if found.already_labelled:
        log(f"{found.already_labelled} images are labelled already and were left out.")
    console.print(
        f"Chosen from {found.n_unlabelled:,} images, by a probe on {found.n_labelled:,} labelled ones"
        f" (cross-validated accuracy {found.cv_accuracy:.1%})."
    )
    console.print(f"List: {folder}/label-next.csv", markup=False, soft_wrap=True)
    console.print(f"Pictures: {folder}/contact-sheet.jpg", markup=False, soft_wrap=True)
