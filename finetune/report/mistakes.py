"""The held-out images that were predicted wrong with the greatest confidence.

They are the quickest way to find wrong labels, duplicates and classes that look alike.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.runs import Prediction

__all__ = ["Mistake", "thumbnail", "worst_mistakes"]

SIDE = 192
"""Longest side of a thumbnail in pixels; it is shown somewhat smaller, for sharp screens."""


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction and its thumbnail as a ``data:`` address; None where the image is gone."""

    prediction: Prediction
    thumbnail: str | None

    @property
    def short_path(self) -> str:
        """The file's name and that of its folder, which tell most people enough."""
        return "/".join(Path(self.prediction.path).parts[-2:])


def worst_mistakes(predictions: Sequence[Prediction], data: Path, most: int = 12) -> list[Mistake]:
    """Pick the most confident mistakes.

    Parameters
    ----------
    predictions : sequence of Prediction
        Of all test images.
    data : Path
        The data folder or table: relative paths are looked for in it, then below the current folder.
    most : int
        How many to pick.

    Returns
    -------
    list of Mistake
        The most confident first.
    """
    wrong = sorted((p for p in predictions if not p.correct), key=lambda p: -p.probability)[:most]
    return [Mistake(prediction, _thumbnail(prediction.path, data)) for prediction in wrong]


def _thumbnail(path: str, data: Path) -> str | None:
    for place in (data / path, data.parent / path, Path(path)):
        if place.is_file():
            return thumbnail(place)
    return None


def thumbnail(path: Path) -> str | None:
    """Shrink an image for a page.

    Parameters
    ----------
    path : Path
        The image.

    Returns
    -------
    str or None
        A ``data:`` address of a JPEG at most `SIDE` pixels wide and high; None where it cannot be read.
    """
    from zoo.errors import ImageError
    from zoo.images.decode import open_image

    try:
        image = open_image(path)
    except ImageError:
        return None
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
