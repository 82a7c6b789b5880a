"""A search on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_search", "sentence", "shown", "words"]


def print_search(record: dict[str, Any], console: Console) -> None:
    """Print the candidates that were compared in the end, and what the best improves.

    Parameters
    ----------
    record : dict
        ``run.choice["search"]``.
    console : rich.console.Console
    """
    from rich.table import Table

    console.print(
        f"\n[bold]search[/] of {', '.join(map(words, record['over']))}: {record['trials']} trials in "
        f"{record['seconds']:.1f} s, {record['pruned']} of them pruned"
    )
    names = list(dict.fromkeys(name for point in record["finalists"] for name in point["params"]))
    table = Table(*map(words, names), "loss", "accuracy", box=None, pad_edge=False)
    for point in record["finalists"]:
        cells = [shown(point["params"].get(name, "default")) for name in names]
        table.add_row(*cells, f"{point['loss']:.4f}", f"{point['accuracy']:.1%}")
    console.print(table)
    console.print(sentence(record))


def sentence(record: dict[str, Any]) -> str:
    """Return in words what the search improved."""
    best = record["finalists"][0]
    default = next((point for point in record["finalists"] if point["default"]), None)
    found = f"loss {best['loss']:.4f}, accuracy {best['accuracy']:.1%}"
    if default is None:
        return f"The defaults diverged; the best has {found}."
    gain = record["difference"]
    if gain is None:
        return f"Only the defaults were compared: {found}."
    compared = (
        f"{100 * gain['accuracy']:+.1f} points (95% interval {100 * gain['low']:+.1f} to "
        f"{100 * gain['high']:+.1f}) on {gain['n']} images of {record['folds']} "
        f"{'fold' if record['folds'] == 1 else 'folds'}"
    )
    if best is default:
        return f"The defaults are the best: {found}. The next best: {compared}."
    return (
        f"The best: {found}. The defaults: loss {default['loss']:.4f}, accuracy {default['accuracy']:.1%}. "
        f"The difference in accuracy: {compared}."
    )


def shown(value: Any) -> str:
    """Return an option's value as it is printed."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(name: str) -> str:
    """Return an option's name as it is printed."""
    return name.replace("_", " ")
