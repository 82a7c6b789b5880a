"""The map of the features on a page: points, class means, and a picture for the point that is pointed at."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.report.charts import Dot, class_mark, scatter
from finetune.report.feature_map import FILES, FeatureMap
from finetune.runs import Prediction

__all__ = ["MapSection", "map_section"]

_NAMES = {"pca": "principal component analysis (PCA)", "tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True)
class MapSection:
    """What the template shows of a map.

    Attributes
    ----------
    svg : str
    layout : str
        The layout's name, in words.
    features : str
        What the features are.
    n, n_images : int
        Images on the map, and all there are.
    key : list of (str, str)
        Each class's mark and name.
    sheet : str
        The pictures as a ``data:`` address; empty where there are none.
    across : int
        Pictures in a row of the sheet.
    """

    svg: str
    layout: str
    features: str
    n: int
    n_images: int
    key: list[tuple[str, str]]
    sheet: str
    across: int


def map_section(folder: Path, classes: Sequence[str], predictions: Sequence[Prediction]) -> MapSection | None:
    """Draw the map that a run folder holds; None where it holds none.

    Parameters
    ----------
    folder : Path
        The run's.
    classes : sequence of str
        Names of the classes.
    predictions : sequence of Prediction
        Of the held-out images, to mark the mistakes.
    """
    found = FeatureMap.load(folder)
    if found is None:
        return None
    called = {p.path: p for p in predictions}
    dots = []
    for point in found.points:
        p = called.get(point.path) if point.held_out else None
        wrong = p is not None and not p.correct
        name = f"{point.path}: {classes[point.label]}"
        if point.held_out:
            name += f", held out, predicted as {p.prediction}" if p and wrong else ", held out"
        dots.append(Dot(point.x, point.y, point.label, name, point.held_out, wrong))
    svg = scatter(dots, _means(found, classes), _axes(found), _title(found))
    sheet = folder / FILES[1]
    picture = ""
    if sheet.is_file():
        picture = "data:image/jpeg;base64," + base64.b64encode(sheet.read_bytes()).decode()
    return MapSection(
        svg=svg,
        layout=_NAMES[found.layout],
        features=found.features,
        n=len(dots),
        n_images=found.n_images,
        key=[(class_mark(i), name) for i, name in enumerate(classes)],
        sheet=picture,
        across=max(1, math.ceil(math.sqrt(len(dots)))),
    )


def _means(found: FeatureMap, classes: Sequence[str]) -> list[tuple[float, float, int, str]]:
    """Each class's mean over its training images, where it has some on the map."""
    means = []
    for i, name in enumerate(classes):
        own = [point for point in found.points if point.label == i and not point.held_out]
        if own:
            x, y = (sum(values) / len(own) for values in ([p.x for p in own], [p.y for p in own]))
            means.append((x, y, i, name))
    return means


def _axes(found: FeatureMap) -> tuple[str, str]:
    if found.explained is None:
        return f"{found.layout} 1", f"{found.layout} 2"
    first, second = found.explained
    return f"component 1, {first:.0%} of the variance", f"component 2, {second:.0%} of the variance"


def _title(found: FeatureMap) -> str:
    return f"Map of the features of {len(found.points)} images by {_NAMES[found.layout]}"
