"""From the name of a pretrained CNN to features of your images.

>>> import zoo
>>> backbone = zoo.load("efficientnet_lite0")
>>> features = zoo.extract(backbone, ["a.jpg", "b.jpg"])  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbone import Backbone, load
    from zoo.errors import ZooError
    from zoo.features.extract import Features, extract
    from zoo.features.transformer import FeatureExtractor

__all__ = ["Backbone", "FeatureExtractor", "Features", "ZooError", "extract", "load"]

_HOMES = {
    "Backbone": "zoo.backbone",
    "FeatureExtractor": "zoo.features.transformer",
    "Features": "zoo.features.extract",
    "ZooError": "zoo.errors",
    "extract": "zoo.features.extract",
    "load": "zoo.backbone",
}


def __getattr__(name: str) -> Any:
    # Looked up when first used, so that the command line need not wait for what it does not use.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
