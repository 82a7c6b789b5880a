"""``zoo show``: all that is known about one network."""

from typing import Any

from zoo.cli.console import print_json, stdout
from zoo.cli.options import Json, RegistryFile

__all__ = ["EXAMPLES", "show"]

EXAMPLES = ("zoo show efficientnet_lite0", "zoo show hf-hub:timm/resnet50.a1_in1k --json")


def show(name: str, *, json: Json = False, registry: RegistryFile = None) -> None:
    """Show all that is known about one network.

    Parameters
    ----------
    name:
        A name in the registry, one of timm's (resnet26t.ra2_in1k), hf-hub:owner/repo, or a model folder.
    """
    from rich.table import Table

    from zoo.registry.registry import load_registry, resolve
    from zoo.weights.locate import available
    from zoo.weights.lock import Lock

    merged = load_registry(registry)
    entry = resolve(name, merged)
    usable = available(entry, Lock(merged.file))
    described: dict[str, Any] = {**entry.model_dump(mode="json"), "available_offline": usable}
    if json:
        print_json(described)
        return
    described["sources"] = "\n".join(str(source) for source in entry.sources)
    described["available_offline"] = "yes" if described["available_offline"] else "no"
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in described.items():
        table.add_row(key.replace("_", " "), "?" if value is None else str(value))
    stdout().print(table)
