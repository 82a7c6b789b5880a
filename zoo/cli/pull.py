"""``zoo pull``: download and verify weights."""

import sys

from zoo.cli.options import RegistryFile

__all__ = ["EXAMPLES", "pull"]

EXAMPLES = ("zoo pull efficientnet_lite0", "zoo pull resnet50 convnext_tiny")


def pull(*names: str, registry: RegistryFile = None) -> None:
    """Download and verify the weights of networks, so that they work offline.

    Parameters
    ----------
    names:
        One or more, as for zoo show.
    """
    from zoo.errors import UnknownModelError
    from zoo.registry.registry import load_registry, resolve
    from zoo.weights.ready import ready

    if not names:
        raise UnknownModelError("There is nothing to pull.", "Name a network; `zoo list` shows them.")
    merged = load_registry(registry)
    # All names are resolved before the first download, so that a typing error costs no waiting.
    for entry in [resolve(name, merged) for name in names]:
        print(f"{entry.name}: downloading and verifying …", file=sys.stderr)
        model = ready(entry)
        print(f"{entry.name}  sha256 {model.sha256}  {model.folder}")
