"""``zoo pull``: download and verify weights."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from zoo.cli.options import RegistryFile

if TYPE_CHECKING:
    from zoo.registry.entry import Entry
    from zoo.weights.lock import Pin

__all__ = ["EXAMPLES", "pull"]

EXAMPLES = (
    "zoo pull efficientnet_lite0",
    "zoo pull resnet50 convnext_tiny --safe",
    "zoo pull resnet50 --update",
)


def pull(
    *names: str,
    update: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Take what the Hub has now, and pin that in zoo.lock."
        ),
    ] = False,
    safe: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Refuse pickles whose SHA-256 no registry gives (ZOO_SAFE=1 does so in every command).",
        ),
    ] = False,
    registry: RegistryFile = None,
) -> None:
    """Download and verify the weights of networks, so that they work offline.

    The commit and the SHA-256 of what comes from the Hub are pinned in zoo.lock, beside your own registry or
    in the cache folder, and every later load is checked against it.

    Parameters
    ----------
    names:
        One or more, as for zoo show.
    """
    from zoo.errors import UnknownModelError
    from zoo.registry.registry import load_registry, resolve
    from zoo.weights.locate import PullOptions
    from zoo.weights.lock import Lock
    from zoo.weights.ready import ready

    if not names:
        raise UnknownModelError("There is nothing to pull.", "Name a network; `zoo list` shows them.")
    merged = load_registry(registry)
    options = PullOptions(update=update, lock=Lock(merged.file))
    options = replace(options, safe=options.safe or safe)
    # All names are resolved before the first download, so that a typing error costs no waiting.
    for entry in [resolve(name, merged) for name in names]:
        print(f"{entry.name}: downloading and verifying …", file=sys.stderr)
        before = options.lock.pins()
        model = ready(entry, options)
        print(f"{entry.name}  sha256 {model.sha256}  {model.folder}")
        for line in _moved(entry, before, options.lock.pins()):
            print(line, file=sys.stderr)


def _moved(entry: "Entry", before: "dict[str, Pin]", after: "dict[str, Pin]") -> list[str]:
    """Say what became of the pins of an entry's repositories."""
    from zoo.registry.entry import HubSource

    names = dict.fromkeys(
        f"{source.repo}@{source.revision}" for source in entry.sources if isinstance(source, HubSource)
    )
    lines = []
    for name in names:
        old, new = before.get(name), after.get(name)
        if new is None:
            continue
        if old is None or old.commit == new.commit:
            lines.append(f"{name} is pinned at {new.commit[:12]}.")
        else:
            lines.append(f"{name} was pinned at {old.commit[:12]} and now is at {new.commit[:12]}.")
    return lines
