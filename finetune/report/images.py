"""Held-out images worth looking at: the most confident mistakes and the least certain predictions.

The mistakes are the quickest way to find wrong labels, duplicates and classes that look alike. The least
certain images show where the classes meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.report.heatmaps import HeatMaps, heat_maps
from finetune.report.thumbnails import find_image, image_root, thumbnail
from finetune.runs import Prediction, Run
from zoo.errors import ZooError

__all__ = ["ShownImage", "ShownImages", "least_certain", "shown_images", "worst_mistakes"]

#: How many of each kind are shown: each has a thumbnail and a heat map.
MOST = 12


@dataclass(frozen=True)
class ShownImage:
    """A prediction with pictures as ``data:`` addresses; None where the image is gone or has no map."""

    prediction: Prediction
    thumbnail: str | None
    heat_map: str | None = None

    @property
    def short_path(self) -> str:
        """The file's name and that of its folder, which tell most people enough."""
        return "/".join(Path(self.prediction.path).parts[-2:])


@dataclass(frozen=True)
class ShownImages:
    """All that the page shows of held-out images.

    Attributes
    ----------
    mistakes, uncertain : list of ShownImage
        The most confident mistake first; the least certain image first.
    exact : bool or None
        Whether the heat maps are exact; None where there are none.
    """

    mistakes: list[ShownImage]
    uncertain: list[ShownImage]
    exact: bool | None


def worst_mistakes(predictions: Sequence[Prediction], most: int = MOST) -> list[Prediction]:
    """Pick the most confident mistakes, the most confident first."""
    return sorted((p for p in predictions if not p.correct), key=lambda p: -p.probability)[:most]


def least_certain(predictions: Sequence[Prediction], most: int = MOST) -> list[Prediction]:
    """Pick the images whose most probable class has the least probability, the least certain first."""
    return sorted(predictions, key=lambda p: p.probability)[:most]


def shown_images(predictions: Sequence[Prediction], run: Run, folder: Path) -> ShownImages:
    """Make the pictures of the images worth looking at.

    Parameters
    ----------
    predictions : sequence of Prediction
        Of all held-out images.
    run : Run
        Relative paths are looked for in its data folder, then below the current folder.
    folder : Path
        The run's folder, for the model in it.
    """
    mistakes = worst_mistakes(predictions)
    wrong = {p.path for p in mistakes}
    uncertain = least_certain([p for p in predictions if p.path not in wrong])
    root = image_root(Path(run.data.path))
    places = {p.path: place for p in (*mistakes, *uncertain) if (place := find_image(p.path, root))}
    thumbnails = {path: picture for path, place in places.items() if (picture := thumbnail(place))}
    readable = [p for p in (*mistakes, *uncertain) if p.path in thumbnails]
    maps = _heat_maps(readable, places, run, folder)
    drawn = dict(zip((p.path for p in readable), maps.pictures, strict=True)) if maps else {}
    shown = [ShownImage(p, thumbnails.get(p.path), drawn.get(p.path)) for p in (*mistakes, *uncertain)]
    exact = maps.exact if maps else None
    return ShownImages(shown[: len(mistakes)], shown[len(mistakes) :], exact)


def _heat_maps(
    predictions: Sequence[Prediction], places: dict[str, Path], run: Run, folder: Path
) -> HeatMaps | None:
    """Return the maps of some images; None where the model is gone or has none."""
    from finetune.runs.predictor import Predictor

    if not predictions or not (folder / "model" / "config.json").is_file():
        return None
    names = {name: i for i, name in enumerate(run.data.classes)}
    classes = np.array([names[p.prediction] for p in predictions])
    try:
        predictor = Predictor(run.model_copy(update={"path": folder}))
        return heat_maps(predictor, [places[p.path] for p in predictions], classes)
    except ZooError:  # the page is worth having without them
        return None
