"""Networks in another engine's format: converted once, checked against torch, stored.

A converted network is in the cache under a digest of everything it was made from, so that later runs need
neither torch nor timm, and nothing that comes from anywhere else is ever loaded.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone
from zoo.cache.folders import cache_errors, cache_folder, locked
from zoo.cache.inventory import keep_within_limit
from zoo.cache.lease import Lease
from zoo.cache.notes import digest_of
from zoo.engines.contract import Engine, EngineError
from zoo.engines.machine import versions
from zoo.engines.photographs import photographs
from zoo.engines.precisions import round_kernels
from zoo.engines.taps import FeatureTap
from zoo.writing import atomic_folder

if TYPE_CHECKING:
    from zoo.engines.graph import Graph

__all__ = ["ExportFormat", "converted", "if_converted", "quiet"]

# Raise it when what is written changes.
_LAYOUT = 3


@dataclass(frozen=True)
class ExportFormat:
    """An engine's own format for networks.

    Attributes
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
    cuts : sequence of str
        Stages whose outputs are outputs of the network too, behind the features.
    """

    engine: str
    packages: tuple[str, ...]
    write: "Callable[[Graph, NDArray[np.uint8], Path], None]"
    load: Callable[..., Engine]
    failures: tuple[type[Exception], ...]
    cuts: Sequence[str] = ()


def converted(
    backbone: Backbone, taps: Sequence[FeatureTap], form: ExportFormat, precision: str = "fp32"
) -> Lease:
    """Return a lease on the folder with a backbone in an engine's format, made if it was not there.

    It has one output for each tap; with `precision` ``bf16`` the kernels are rounded to bfloat16.

    Raises
    ------
    EngineError
        If the network cannot be converted, or computes something else than torch's does.
    """
    folder, made_from = _place(backbone, taps, form, precision)
    while True:
        try:
            return Lease(folder)
        except FileNotFoundError:  # Not made yet, or removed just now to keep the limit.
            with locked(folder):
                if not folder.exists():
                    _convert(backbone, taps, form, made_from, folder)
            keep_within_limit(protect=[folder])


def if_converted(backbone: Backbone, taps: Sequence[FeatureTap], form: ExportFormat) -> Lease | None:
    """Return what :func:`converted` returns in fp32 if it was made before, or else None."""
    try:
        return Lease(_place(backbone, taps, form, "fp32")[0])
    except FileNotFoundError:
        return None


def _place(
    backbone: Backbone, taps: Sequence[FeatureTap], form: ExportFormat, precision: str
) -> tuple[Path, dict[str, Any]]:
    """Where a converted network is, and all that it depends on."""
    made_from = {
        **backbone.identity,
        "taps": [tap.identity for tap in taps],
        **versions(*form.packages),
        "engine": form.engine,
        "precision": precision,
        "layout": _LAYOUT,
    }
    return cache_folder("graphs") / digest_of(made_from), made_from


def _convert(
    backbone: Backbone,
    taps: Sequence[FeatureTap],
    form: ExportFormat,
    made_from: dict[str, Any],
    folder: Path,
) -> None:
    from zoo.engines.fold import folded
    from zoo.engines.graph import Graph, evaluate

    pixels = photographs(backbone.preprocess)
    few = pixels[:2]
    failures: tuple[type[Exception], ...] = (RuntimeError, *form.failures)
    try:
        graph = Graph(backbone, taps).eval()
        if made_from["precision"] == "bf16":
            graph = folded(backbone, taps)
            round_kernels(graph.network)
        expected = np.concatenate(evaluate(graph, few), axis=1)
        graph.cuts = tuple(form.cuts)
        with cache_errors(folder), atomic_folder(folder) as made:
            with quiet():
                form.write(graph, pixels, made)
            engine = form.load(made, range(len(taps))) if form.cuts else form.load(made)
            _compare(engine(pixels)[: len(few)], expected, backbone.name, form.engine)
            (made / "about.json").write_text(json.dumps(made_from, indent=1), encoding="utf-8")
    except failures as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(
            f"{form.engine} cannot convert {backbone.name} ({reason}).", "Use --engine torch."
        ) from error


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
def quiet() -> Iterator[None]:
    """Silence the libraries' remarks on each other's versions, which help no user."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
