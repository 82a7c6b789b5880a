"""``zoo verify``: read all weights again and compare them with what is pinned."""

import sys

from zoo.cli.console import print_json
from zoo.cli.options import Json, RegistryFile

__all__ = ["EXAMPLES", "verify"]

EXAMPLES = ("zoo verify", "zoo verify --registry mine.yaml --json")


def verify(*, json: Json = False, registry: RegistryFile = None) -> None:
    """Read all weights again and compare them with zoo.lock, the registry and the cache's own records.

    A damaged file in a cache is removed, so that the next command fetches or makes it again. The exit code
    is 2 if anything was damaged.
    """
    from zoo.errors import WeightsError
    from zoo.progress import progress
    from zoo.registry.registry import load_registry
    from zoo.weights.lock import Lock
    from zoo.weights.verify import check, files

    merged = load_registry(registry)
    found = files(Lock(merged.file), merged.entries)
    size = sum(file.path.stat().st_size for file in found if file.path is not None and file.path.is_file())
    with progress("reading", size, "bytes") as advance:
        checked = [check(file, advance) for file in found]
    if json:
        print_json(
            [
                {
                    "name": one.file.name,
                    "state": one.state,
                    "path": None if one.file.path is None else str(one.file.path),
                    "sha256": one.file.sha256,
                    "measured": one.measured,
                    "removed": one.removed,
                }
                for one in checked
            ]
        )
    else:
        for one in checked:
            print(f"{one.state:8} {one.file.name}" + (" (removed)" if one.removed else ""))
    counts = {state: sum(one.state == state for one in checked) for state in ("intact", "damaged", "absent")}
    print(", ".join(f"{count} {state}" for state, count in counts.items()) + ".", file=sys.stderr)
    damaged = [one for one in checked if one.state == "damaged"]
    if damaged:
        kept = [str(one.file.path) for one in damaged if not one.removed]
        removed = "What was removed is fetched or made again by the next command that needs it. "
        raise WeightsError(
            f"{len(damaged)} of {len(checked)} files are not what they should be.",
            (removed if len(kept) < len(damaged) else "")
            + (f"Reinstall or replace: {', '.join(kept)}." if kept else ""),
        )
