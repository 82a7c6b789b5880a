"""Networks written in another engine's form: converted once, checked against torch, kept.

A converted network lies in the cache folder under a digest of everything it was made from, so that later
runs need neither torch nor timm, and nothing that comes from anywhere else is ever loaded.
"""

import io
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.cache.eviction import keep_within_limit
from zoo.cache.folders import cache_folder, locked, writing
from zoo.cache.lease import TEMPORARY, Hold
from zoo.engines.bf16 import cuts, rounded_graph
from zoo.engines.contract import Engine, EngineError
from zoo.engines.notes import digest_of, versions
from zoo.engines.photographs import photographs
from zoo.engines.readout import Readout

if TYPE_CHECKING:
    from zoo.backbone import Backbone
    from zoo.engines.graph import Graph

__all__ = ["Form", "converted"]

# Raise it when what is written changes.
_LAYOUT = 2


@dataclass(frozen=True)
class Form:
    """An engine's own form of a network.

    Parameters
    ----------
    engine : str
        Whose it is.
    packages : tuple of str
        Whose versions it depends on.
    write : callable
        Takes the graph, a batch of pixels and an existing folder, and writes the network there.
    load : callable
        Makes the engine, in fp32, from that folder.
    failures : tuple of exception types
        What the engine raises on a network that it cannot run.
    divisible : bool
        Whether the graph has the places to divide it at, `zoo.engines.bf16.cuts`, as its taps.
    """

    engine: str
    packages: tuple[str, ...]
    write: "Callable[[Graph, NDArray[np.uint8], Path], None]"
    load: Callable[[Path], Engine]
    failures: tuple[type[Exception], ...]
    divisible: bool = False


def converted(backbone: "Backbone", readout: Readout, form: Form, precision: str = "fp32") -> Hold:
    """Return the folder with a backbone in an engine's form, made if it was not there.

    Parameters
    ----------
    backbone : Backbone
        The network.
    readout : Readout
        What is read of it.
    form : Form
        How it is written.
    precision : str, optional
        ``bf16`` for the graph of :func:`zoo.engines.bf16.rounded_graph`.

    Returns
    -------
    Hold
        On the folder: it stays there until the engine has read it.

    Raises
    ------
    EngineError
        If the network cannot be converted, or computes something else than torch's does.
    """
    made_from = {
        **backbone.identity,
        **readout.identity(backbone),
        **versions(*form.packages),
        "engine": form.engine,
        "precision": precision,
        "layout": _LAYOUT,
    }
    folder = cache_folder("graphs") / digest_of(made_from)
    while True:
        try:
            return Hold(folder)
        except FileNotFoundError:  # Not made yet, or removed just now to keep the cache small.
            with locked(folder.with_suffix(".lock")):
                if not folder.exists():
                    _convert(backbone, readout, form, made_from, folder)
            keep_within_limit(protect=[folder])


def _convert(
    backbone: "Backbone", readout: Readout, form: Form, made_from: dict[str, Any], folder: Path
) -> None:
    """Write the network to `folder`, whole or not at all."""
    from zoo.engines.graph import Graph, evaluate

    failures: tuple[type[Exception], ...] = (RuntimeError, *form.failures)
    pixels = photographs(backbone.preprocess)
    few = pixels[:2]
    with writing(folder):
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=TEMPORARY, dir=folder.parent))
    try:
        graph = Graph(backbone, readout.layers, readout.pool).eval()
        if made_from["precision"] == "bf16":
            graph = rounded_graph(backbone, readout)
        if form.divisible:
            graph.taps = tuple(cuts(backbone, readout))
        expected = evaluate(graph, few)
        with _quiet():
            form.write(graph, pixels, temporary)
        _compare(form.load(temporary)(pixels)[: len(few)], expected, backbone.name, form.engine)
        with writing(folder):
            (temporary / "about.json").write_text(json.dumps(made_from, indent=1), encoding="utf-8")
            temporary.chmod(0o755)  # mkdtemp makes it private, and caches are often shared.
            temporary.rename(folder)
    except failures as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(
            f"{form.engine} cannot convert {backbone.name} ({reason}).", "Use --engine torch."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _compare(got: NDArray[np.float32], expected: NDArray[np.float32], name: str, engine: str) -> None:
    """Refuse a network that computes something else than the one it was made from."""
    same_shape = got.shape == expected.shape
    largest = max(float(np.abs(expected).max()), 1e-12)
    worst = float(np.abs(got - expected).max()) / largest if same_shape else np.inf
    if not worst < 1e-3:
        raise EngineError(
            f"{engine}'s features of {name} differ from torch's by {worst:.1e} of the largest.",
            "Use --engine torch.",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' remarks on each other's versions, which help no user."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
