"""A batch of real photographs that is always the same: what engines are compared and timed on.

Cut from the two photographs that scikit-learn brings along, a temple under a smooth sky and a flower.
Noise will not do: low precision hurts most where a picture is smooth.
"""

from functools import lru_cache
from importlib.metadata import distribution

import numpy as np
from numpy.typing import NDArray

from zoo.engines.contract import BATCH
from zoo.images import Preprocess, open_image

__all__ = ["photographs"]


@lru_cache(maxsize=1)
def photographs(preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return `BATCH` different images as a backbone wants them.

    Parameters
    ----------
    preprocess : Preprocess
        The backbone's.

    Returns
    -------
    (BATCH, height, width, 3) uint8 array
        By turns of one and of the other photograph.
    """
    files = distribution("scikit-learn")
    wholes = [
        open_image(str(files.locate_file(f"sklearn/datasets/images/{name}.jpg")))
        for name in ("china", "flower")
    ]
    across = 4  # windows of half a photograph's sides, in a 4 x 4 grid over it
    batch = []
    for place in range(BATCH // len(wholes)):
        row, column = divmod(place, across)
        for whole in wholes:
            width, height = whole.width // 2, whole.height // 2
            left, top = (whole.width - width) * column // 3, (whole.height - height) * row // 3
            batch.append(preprocess(whole.crop((left, top, left + width, top + height))))
    return np.stack(batch)
