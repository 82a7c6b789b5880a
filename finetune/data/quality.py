"""Images that are unlike the others in ways that often mean a fault: dark, blurred, empty, tiny, …

Two conditions must hold. An image must be unusual **here**: its statistic lies more than 3.5 robust standard
deviations beyond the median (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers"), where the
deviation is 1.4826 times the median absolute deviation of the images on that side, so that skewed statistics
do not count as unusual on their long side. And it must be so **by itself**: beyond a limit that faults pass,
so that the least even of many good images is not named. Which statistics, and the limits' order of size, are
those of cleanvision (https://github.com/cleanlab/cleanvision), whose limits alone decide.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.data.dataset import Dataset
from finetune.data.notices import Notice
from finetune.data.statistics import MAX_COLOURS, column

__all__ = ["quality_notices"]

#: Robust standard deviations from the median, from which a value is an outlier.
OUTLIER = 3.5

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Rule:
    """What makes an image stand out.

    Attributes
    ----------
    kind : str
        As in `Notice`.
    measure : callable
        From the statistics, (n, width), to a number for each image: the higher, the worse.
    limit : float
        Only what is above it is named.
    spread : float
        The least robust standard deviation, in the units of `measure`, for images that are all alike.
    one, many, then : str
        As for :meth:`Notice.about`.
    """

    kind: str
    measure: Callable[[Array], Array]
    limit: float
    spread: float
    one: str
    many: str
    then: str = ""


def _shape(rows: Array) -> Array:
    """How many times longer or flatter than usual, as a logarithm."""
    aspect = np.log(column(rows, "width") / column(rows, "height"))
    return np.abs(aspect - np.median(aspect))


def _smallness(rows: Array) -> Array:
    """How many times smaller than usual, as a logarithm; -inf for what is large enough for any CNN."""
    short = np.minimum(column(rows, "width"), column(rows, "height"))
    return np.where(short < 128, np.log(np.median(short) / short), -np.inf)


RULES = (
    Rule(
        "dark", lambda rows: -np.log(column(rows, "bright_end") + 1e-3), -np.log(0.33), 0.1,
        "image is very dark", "images are very dark",
    ),
    Rule(
        "bright", lambda rows: column(rows, "dark_end"), 0.85, 0.02,
        "image is very bright", "images are very bright",
    ),
    Rule(
        "blurred", lambda rows: -np.log(np.maximum(column(rows, "sharpness"), 1e-3)), np.log(10), 0.1,
        "image is blurred, or enlarged from a thumbnail", "images are blurred, or enlarged from thumbnails",
    ),
    Rule(
        "nearly empty", lambda rows: -np.log(column(rows, "content") + 1e-4), -np.log(0.02), 0.1,
        "image is nearly empty", "images are nearly empty",
    ),
    Rule(
        "odd shape", _shape, np.log(2.5), 0.1,
        "image is far longer or flatter than usual", "images are far longer or flatter than usual",
        "Most CNNs are given only the middle of such images.",
    ),
    Rule(
        "tiny", _smallness, np.log(3), 0.1,
        "image is far smaller than usual", "images are far smaller than usual",
    ),
    Rule(
        "grey", lambda rows: -np.log(255 * column(rows, "colour") + 4), -np.log(10), 0.1,
        "image is grey among images in colour", "images are grey among images in colour",
    ),
)  # fmt: skip


def quality_notices(dataset: Dataset, statistics: NDArray[np.float32]) -> list[Notice]:
    """Report which images stand out, the most extreme first.

    Parameters
    ----------
    dataset : Dataset
        Of n images.
    statistics : (n, width) array
        As computed by :class:`finetune.data.statistics.ImageStatistics`.

    Returns
    -------
    list of Notice
        At most one of each kind.
    """
    names = dataset.names
    constant = column(statistics, "n_colours") == 1
    notices = [*_by_colours(names, statistics), *_enlarged(names, statistics)]
    rest = np.flatnonzero(~constant)
    for rule in RULES:
        found = rest[_outliers(rule, statistics[rest])] if len(rest) else rest
        if len(found):
            notices.append(
                Notice.about(rule.kind, [names[place] for place in found], rule.one, rule.many, rule.then)
            )
    return notices


def _outliers(rule: Rule, rows: Array) -> NDArray[np.int64]:
    """Places of the images that the rule names, the most extreme first."""
    values = rule.measure(rows).astype(np.float64)
    usual = float(np.median(values))
    if np.isfinite(usual):
        beyond = values - usual
        spread = 1.4826 * float(np.median(beyond[beyond >= 0]))
        unusual = beyond > OUTLIER * max(spread, rule.spread)
    else:
        unusual = np.isfinite(values)  # most images are not even candidates
    found = np.flatnonzero(unusual & (values > rule.limit))
    return found[np.argsort(-values[found], kind="stable")]


def _by_colours(names: tuple[str, ...], rows: Array) -> Iterator[Notice]:
    """Images of one colour; and, where most images have many, of a few."""
    colours = column(rows, "n_colours")
    constant = [names[place] for place in np.flatnonzero(colours == 1)]
    if constant:
        yield Notice.about("constant", constant, "image has only one colour", "images have only one colour")
    few = np.flatnonzero((colours > 1) & (colours <= MAX_COLOURS))
    if len(few) and len(few) < (colours > MAX_COLOURS).sum():
        few = few[np.argsort(colours[few], kind="stable")]
        what = f"{MAX_COLOURS} colours or less"
        found = [names[place] for place in few]
        yield Notice.about("few colours", found, f"image has {what}", f"images have {what}")


def _enlarged(names: tuple[str, ...], rows: Array) -> Iterator[Notice]:
    """Images that were enlarged by repeating pixels, where most were not."""
    size = column(rows, "pixel_size")
    found = np.flatnonzero(size > 1)
    if len(found) and len(found) < len(rows) / 2:
        found = found[np.argsort(-size[found], kind="stable")]
        yield Notice.about(
            "enlarged",
            [names[place] for place in found],
            "image is a thumbnail enlarged by repeating its pixels",
            "images are thumbnails enlarged by repeating their pixels",
        )
