"""The ``zoo cache`` commands: show and clear the cache."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from zoo.cli.console import epilogue, print_json, stdout

if TYPE_CHECKING:
    from zoo.cache.inventory import Item

__all__ = ["app"]

app = App(
    name="cache",
    help="Show and clear the cache of downloads and computed results.",
    help_format="plaintext",
)


@app.command(help_epilogue=epilogue("zoo cache info", "ZOO_CACHE_LIMIT=5GB zoo cache info --json"))
def info(
    *,
    json: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """Show where the cache is, its limit, and what lies in it.

    The limit, $ZOO_CACHE_LIMIT, applies to what can be computed again: features and converted networks. The
    least recently used is removed first. By default: 20 GB, and no more than half of what the disk would have
    free without them.
    """
    from zoo.cache.folders import cache_root
    from zoo.cache.inventory import LIMITED, inventory, size_limit

    items = inventory()
    limit = size_limit(items)
    within = sum(item.size for item in items if item.kind in LIMITED)
    rows = _rows(items)
    if json:
        about = {"folder": str(cache_root()), "limit": limit, "within_limit": within}
        for row in rows:
            row["used"] = datetime.fromtimestamp(row["used"]).astimezone().isoformat(timespec="seconds")
        print_json({**about, "bytes": sum(item.size for item in items), "kept": rows})
        return
    _print_rows(rows)
    bound = f"of at most {_size(limit)}" if limit is not None else "(no limit)"
    print(f"{cache_root()}: {_size(sum(item.size for item in items))}.")
    print(f"Features and converted networks: {_size(within)} {bound} (ZOO_CACHE_LIMIT).")


@app.command(
    help_epilogue=epilogue(
        "zoo cache clear",
        "zoo cache clear features --older-than 30",
        "zoo cache clear models --model vgg --yes",
    )
)
def clear(
    *kinds: str,
    model: Annotated[
        str | None, Parameter(help="Only what belongs to networks whose name contains this.")
    ] = None,
    older_than: Annotated[
        float | None,
        Parameter(help="Only what was not used for this many days.", validator=validators.Number(gte=0)),
    ] = None,
    yes: Annotated[
        bool, Parameter(negative="", show_default=False, help="Do not ask for confirmation.")
    ] = False,
) -> None:
    """Remove what the cache holds, except what a running process uses.

    Parameters
    ----------
    kinds:
        Kinds that zoo cache info lists: features, graphs, ... By default all but models and runtimes,
        which may have to be downloaded again.
    """
    from zoo.cache.inventory import clear as remove
    from zoo.cache.inventory import select

    items = select(kinds, model, older_than)
    if not items:
        print("There is nothing to remove.", file=sys.stderr)
        return
    _print_rows(_rows(items))
    if not (yes or _confirmed(sum(item.size for item in items))):
        print("Nothing was removed.", file=sys.stderr)
        return
    removed, in_use = remove(items)
    print(f"{_size(sum(item.size for item in removed))} freed.")
    if in_use:
        kept = sum(item.size for item in in_use)
        print(f"{_size(kept)} are in use by a running process and stay.", file=sys.stderr)


#: What is stored of images besides a network's features: the first key of its identity.
_OTHER = ("pixels", "statistics", "keypoints", "compared")


def _confirmed(size: int) -> bool:
    from zoo.cache.folders import CacheError

    if not sys.stdin.isatty():
        raise CacheError("Removing needs a confirmation, and there is no terminal to ask.", "Use --yes.")
    print(f"Remove {_size(size)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _rows(items: "list[Item]") -> list[dict[str, Any]]:
    """Sum up items of one kind, network, precision and layers."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for item in items:
        about = item.about
        what = item.network or next((key for key in _OTHER if key in about), None)
        layers = ", ".join(about.get("layers", ())) or None
        key = (item.kind, what, about.get("precision"), layers)
        row = rows.setdefault(
            key,
            {
                **dict(zip(("kind", "network", "precision", "layers"), key, strict=True)),
                "items": 0,
                "images": None,
                "bytes": 0,
                "used": 0.0,
            },
        )
        row["items"] += 1
        row["bytes"] += item.size
        row["used"] = max(row["used"], item.used)
        digests = item.path / "digests.bin"  # 32 bytes for each image that a feature store holds
        if digests.is_file():
            row["images"] = (row["images"] or 0) + digests.stat().st_size // 32
    return list(rows.values())


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("kind", "network", "precision", "layers"):
        table.add_column(title, no_wrap=title != "layers")
    for title in ("images", "size", "last used"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        words = (str(row[key] or "") for key in ("kind", "network", "precision", "layers"))
        images = "" if row["images"] is None else str(row["images"])
        used = datetime.fromtimestamp(row["used"]).strftime("%Y-%m-%d %H:%M")
        table.add_row(*words, images, _size(row["bytes"]), used)
    if rows:
        stdout().print(table)


def _size(count: int) -> str:
    """Bytes in the largest unit that leaves a number of at least 1."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
