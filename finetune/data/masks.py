"""Masks among photographs: images that mark which pixels of a photograph belong to something."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.data.dataset import Dataset
from finetune.data.notices import Notice
from finetune.data.statistics import MAX_COLOURS, ImageStatistics, column

__all__ = ["masks_beside_photographs", "masks_by_colours", "without_masks"]

#: Share of an image that its four commonest colours cover, from which it may be a mask. Edges that were
#: smoothed, or stored as JPEG, have other colours. On 1,344 pairs of magnetic tiles, masks have .977 or more
#: and photographs .254 or less.
FLAT = 0.9

_WORDS = "(masks?|gt|ground[ _-]?truth|seg|segmentations?|labels?|annotations?|matte)"
_ENDING = re.compile(rf"[ ._-]+{_WORDS}$", re.IGNORECASE)
_FOLDER = re.compile(_WORDS, re.IGNORECASE)


def masks_beside_photographs(dataset: Dataset) -> NDArray[np.int64]:
    """Find the masks that are called like a photograph.

    ``1_mask.png`` beside ``1.jpg`` is one by its name. Of ``1.png`` and ``1.jpg``, and of ``masks/1.png`` and
    ``images/1.png``, one is a mask if four colours cover nine tenths of it and not of the other; only such
    pairs are opened.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    int array
        Their places, in ascending order.
    """
    by_stem: dict[Path, list[int]] = defaultdict(list)
    for place, path in enumerate(dataset.paths):
        by_stem[path.with_suffix("")].append(place)
    named = [
        place
        for stem, places in by_stem.items()
        if (plain := _ENDING.sub("", stem.name)) != stem.name and stem.with_name(plain) in by_stem
        for place in places
    ]
    pairs = [places for places in by_stem.values() if len(places) > 1]
    pairs += _in_folders_of_masks(by_stem, dataset.labels)
    return np.array(sorted({*named, *_flat_ones(dataset, pairs)}), np.int64)


def _in_folders_of_masks(by_stem: dict[Path, list[int]], labels: NDArray[np.int64]) -> Iterator[list[int]]:
    """Files in a folder called ``masks`` or the like, each with its namesakes in the folders beside it.

    Only those of the same class: it is also what a class of face masks may be called.
    """
    beside: dict[tuple[Path, str, int], list[int]] = defaultdict(list)
    for stem, places in by_stem.items():
        if not _FOLDER.fullmatch(stem.parent.name):
            beside[stem.parent.parent, stem.name, int(labels[places[0]])] += places
    for stem, places in by_stem.items():
        if _FOLDER.fullmatch(stem.parent.name):
            for name in {stem.name, _ENDING.sub("", stem.name)}:
                if photographs := beside.get((stem.parent.parent, name, int(labels[places[0]]))):
                    yield [*places, *photographs]


def _flat_ones(dataset: Dataset, pairs: list[list[int]]) -> list[int]:
    """Of files with one stem, those that are flat where another is not."""
    from zoo.features.fill import compute

    if not pairs:
        return []
    places = sorted({place for pair in pairs for place in pair})
    found = compute([dataset.paths[place] for place in places], [ImageStatistics()])
    shares = column(found.matrices[0], "top_colours")
    flat = {places[i]: bool(share >= FLAT) for i, share in zip(found.kept, shares, strict=True)}
    mixed = [pair for pair in pairs if False in [flat.get(place) for place in pair]]
    return [place for pair in mixed for place in pair if flat.get(place)]


def masks_by_colours(dataset: Dataset, statistics: NDArray[np.float32]) -> NDArray[np.int64]:
    """Find images of two to four colours among photographs of the same class in the same folder.

    Where there are at least as many of them as photographs, that is what these images are like, and none of
    them is a mask.

    Parameters
    ----------
    dataset : Dataset
        Of n images.
    statistics : (n, width) array
        As computed by :class:`finetune.data.statistics.ImageStatistics`.

    Returns
    -------
    int array
        Their places, in ascending order.
    """
    colours = column(statistics, "n_colours")
    few = (colours >= 2) & (colours <= 4)
    where = [f"{label} {path.parent}" for label, path in zip(dataset.labels, dataset.paths, strict=True)]
    group = np.unique(where, return_inverse=True)[1]
    photographs = np.bincount(group, colours > MAX_COLOURS)
    return np.flatnonzero(few & (np.bincount(group, few) < photographs)[group])


def without_masks(dataset: Dataset, masks: NDArray[np.int64]) -> tuple[Dataset, NDArray[np.int64]]:
    """Leave masks out, with a notice.

    Parameters
    ----------
    dataset : Dataset
    masks : int array
        Places of masks.

    Returns
    -------
    Dataset
        Without them, with a notice; the same where there are none.
    int array
        Places of what is left.
    """
    kept = np.setdiff1d(np.arange(len(dataset)), masks)
    if len(masks) == 0:
        return dataset, kept
    notice = Notice.about(
        "masks",
        [dataset.name_of(dataset.paths[place]) for place in masks],
        "image is a mask and is left out",
        "images are masks and are left out",
        "--keep-masks keeps them." if len(masks) > 1 else "--keep-masks keeps it.",
    )
    return dataset.subset(kept).noting(notice), kept
