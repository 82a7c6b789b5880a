"""The held-out images that were predicted wrong with the greatest confidence.

They are the quickest way to find wrong labels, duplicates and classes that look alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.report.thumbnails import find_image, thumbnail
from finetune.runs import Prediction

__all__ = ["Mistake", "worst_mistakes"]


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
    places = [find_image(prediction.path, data) for prediction in wrong]
    return [
        Mistake(prediction, None if place is None else thumbnail(place))
        for prediction, place in zip(wrong, places, strict=True)
    ]
