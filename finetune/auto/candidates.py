"""What may be tried: a method with its options, on a network's features or on pixels."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.method import Method
from finetune.methods import METHODS, make_method

__all__ = ["Candidate", "on_features", "references", "trainings"]


@dataclass(frozen=True)
class Candidate:
    """One way of making a classifier.

    Attributes
    ----------
    strategy : str
        As in ``--strategy``.
    network : str or None
        The network; None for a reference on pixels.
    options : mapping
        The strategy's, where they differ from its defaults.
    view, tta : str
        As in ``--view`` and ``--tta``.
    """

    strategy: str
    network: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    view: str = "crop"
    tta: str = "none"

    def method(self) -> Method:
        """Return the method with its options."""
        return make_method(self.strategy, **self.options)

    @property
    def key(self) -> str:
        """A name for files, the same for the same candidate."""
        about = [self.strategy, self.network, dict(self.options), self.view, self.tta]
        text = json.dumps(about, sort_keys=True)
        return f"{self.strategy}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def name(self) -> str:
        """What people read: ``probe (stages), efficientnet_lite0``."""
        features = self.options.get("features")
        words = [f"{self.strategy} ({features})" if features else self.strategy]
        words += [] if self.network is None else [self.network]
        words += [] if self.view == "crop" else [f"{self.view} image"]
        words += [] if self.tta == "none" else [self.tta]
        return ", ".join(words)

    def __hash__(self) -> int:
        return hash(self.key)


def references() -> list[Candidate]:
    """What needs no network."""
    return [Candidate(name) for name, method in METHODS.items() if method.kind == "reference"]


def on_features(network: str, view: str = "crop", tta: str = "none") -> list[Candidate]:
    """Return the classifiers on a network's features, the quickest first."""
    heads = [("knn", {}), ("probe", {"features": "last"}), ("probe", {"features": "stages"})]
    heads += [("kernel", {"features": "stages"}), ("kernel", {"features": "last"})]
    heads += [("svm", {"features": "last"}), ("svm", {"features": "stages"})]
    return [Candidate(strategy, network, options, view, tta) for strategy, options in heads]


#: Settings of the methods that train the network itself, from the most thorough to the quickest. Without a
#: given learning rate, up to five are tried.
_TRAININGS: dict[str, tuple[dict[str, Any], ...]] = {
    "last-layers": (
        {},
        {"tries": 1},
        {"tries": 1, "num_views": 4},
        {"tries": 1, "num_views": 4, "share": 0.6},
        {"tries": 1, "num_views": 2, "share": 0.5},
        {"tries": 1, "num_views": 1, "share": 0.4},
    ),
    "full": ({}, {"tries": 1}, {"tries": 1, "share": 0.6}),
}

#: Fewest epochs that a training is cut to.
FEWEST_EPOCHS = 4


def trainings(strategy: str, network: str, n_images: int, view: str = "crop") -> list[Candidate]:
    """Return a method that trains the network itself with ever quicker settings.

    Where the processor or GPU has bfloat16 arithmetic, all of them train in it: it takes about half the time.

    Parameters
    ----------
    strategy : str
        ``last-layers`` or ``full``.
    network : str
    n_images : int
        Training images, by which the usual settings go.
    view : str, optional
    """
    from zoo.engines.machine import has_bf16

    usual: Any = make_method(strategy).options
    fast = {"amp": True} if has_bf16() else {}
    resolved = usual.resolved(n_images)
    found = []
    for settings in _TRAININGS[strategy]:
        given = {**fast, **settings}
        if given.pop("tries", 0):
            given["lr"] = resolved.lr
        if share := given.pop("share", None):
            given["epochs"] = max(FEWEST_EPOCHS, round(share * resolved.epochs))
            # Fewer updates get as far with larger steps.
            given["lr"] = max(usual.learning_rates(n_images))
        found.append(Candidate(strategy, network, given, view))
    return found
