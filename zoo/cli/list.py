"""``zoo list``: the networks of the registry."""

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from zoo.cli.console import print_json, stdout
from zoo.cli.options import Json, RegistryFile

if TYPE_CHECKING:
    from zoo.registry.entry import Entry

__all__ = ["EXAMPLES", "list_models"]

EXAMPLES = ("zoo list", "zoo list --family ConvNeXt --max-parameters 30", "zoo list --offline --json")


def list_models(
    *,
    family: Annotated[str | None, Parameter(help="Only this family, such as ResNet.")] = None,
    licence: Annotated[str | None, Parameter(help="Only this licence, such as Apache-2.0.")] = None,
    max_parameters: Annotated[float | None, Parameter(help="At most this many million parameters.")] = None,
    offline: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Only networks that are usable without the internet."
        ),
    ] = False,
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """List the networks of the registry."""
    from zoo.registry.registry import load_registry
    from zoo.weights.locate import available
    from zoo.weights.lock import Lock

    merged = load_registry(registry)
    entries = [
        entry
        for entry in merged.entries
        if _same(family, entry.family)
        and _same(licence, entry.licence)
        and (max_parameters is None or (entry.parameters or float("inf")) <= max_parameters)
    ]
    lock = Lock(merged.file)
    here = {entry.name for entry in entries if available(entry, lock)}
    if offline:
        entries = [entry for entry in entries if entry.name in here]
    if json:
        described = [
            {**entry.model_dump(mode="json"), "available_offline": entry.name in here} for entry in entries
        ]
        print_json(described)
    else:
        _print_table(entries, here)


def _same(wanted: str | None, value: str | None) -> bool:
    return wanted is None or (value is not None and wanted.lower() == value.lower())


def _print_table(entries: "list[Entry]", here: set[str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "family"):
        table.add_column(title, no_wrap=True)
    for title in ("top-1 %", "params M", "GMACs", "pixels", "features"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("offline", no_wrap=True)
    for entry in entries:
        numbers = (_fixed(entry.top1, 1), _fixed(entry.parameters, 1), _fixed(entry.gmacs, 2))
        shape = (_pixels(entry.input_size), str(entry.num_features or "?"))
        usable = "yes" if entry.name in here else ""
        table.add_row(entry.name, entry.family or "?", *numbers, *shape, entry.licence or "?", usable)
    stdout().print(table)
    count = "one network" if len(entries) == 1 else f"{len(entries)} networks"
    print(f"{count}, {len(here & {entry.name for entry in entries})} usable offline.", file=sys.stderr)


def _fixed(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _pixels(size: int | tuple[int, int] | None) -> str:
    if size is None:
        return "?"
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"
