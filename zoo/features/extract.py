"""From images to features in memory; :mod:`zoo.features.fill` computes and stores them."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.features.fill import Filled, fill
from zoo.features.spaces import BackboneSpace, Space
from zoo.images.decode import UnreadableImage
from zoo.parallel import threads

if TYPE_CHECKING:
    from zoo.backbone import Backbone

__all__ = ["Extraction", "Features", "compute", "extract", "threads"]


@dataclass(frozen=True)
class Extraction:
    """What came of computing several spaces over the same images.

    Attributes
    ----------
    paths : list of Path
        The images that could be read, in the order given.
    digests : list of str
        SHA-256 of their bytes.
    kept : (n,) int array
        Their places in what was asked.
    matrices : list of (n, width) float32 arrays
        One a space.
    skipped : dict of int to UnreadableImage
        Why the image at a place could not be read.
    computed : int
        How many images were not in the store.
    """

    paths: list[Path]
    digests: list[str]
    kept: NDArray[np.int64]
    matrices: list[NDArray[np.float32]]
    skipped: dict[int, UnreadableImage]
    computed: int


@dataclass(frozen=True)
class Features:
    """Features of images, one row each.

    Attributes
    ----------
    X : (n, d) float32 array
        In the order the images were given.
    paths : list of Path
        The images.
    digests : list of str
        SHA-256 of their bytes.
    identity : dict
        What the features depend on besides the images.
    skipped : dict of int to UnreadableImage
        Images without a row, by their place in what was given.
    layers : dict of str to (n, k) float32 array
        The part of `X` that is each layer's; ``features`` alone where no layer was named.
    """

    X: NDArray[np.float32]
    paths: list[Path]
    digests: list[str]
    identity: dict[str, Any]
    skipped: dict[int, UnreadableImage] = field(default_factory=dict)
    layers: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.X)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Let ``numpy.asarray(features)`` and scikit-learn take the matrix."""
        return np.array(self.X, dtype=dtype, copy=copy)


def extract(
    model: "str | Backbone",
    paths: Iterable[str | os.PathLike[str]],
    *,
    engine: str = "auto",
    precision: str = "fp32",
    layers: str | Sequence[str] = (),
    pool: str = "avg",
    exact_decoding: bool = False,
    skip_unreadable: bool = False,
) -> Features:
    """Compute a pretrained CNN's features of images.

    Parameters
    ----------
    model : str or Backbone
        A backbone, or a name for :func:`zoo.load`.
    paths : iterable of paths
        The images.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    layers, pool, exact_decoding : optional
        As in :class:`zoo.features.spaces.BackboneSpace`.
    skip_unreadable : bool, optional
        Leave out images that cannot be read, and list them, instead of raising.

    Returns
    -------
    Features

    Raises
    ------
    UnreadableImage
        If an image cannot be read and `skip_unreadable` is false.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from pathlib import Path
    >>> import sklearn.datasets
    >>> folder = Path(sklearn.datasets.__file__).parent / "images"
    >>> extract("efficientnet_lite0", [folder / "china.jpg", folder / "flower.jpg"]).X.shape
    (2, 1280)
    >>> found = extract("efficientnet_lite0", [folder / "china.jpg"], layers=["stages.1", "stages.3"])
    >>> {layer: X.shape for layer, X in found.layers.items()}
    {'stages.1': (1, 24), 'stages.3': (1, 112)}
    """
    from zoo.backbone import load

    backbone = load(model) if isinstance(model, str) else model
    space = BackboneSpace(
        backbone, engine, precision, layers=layers, pool=pool, exact_decoding=exact_decoding
    )
    found = compute([Path(path) for path in paths], [space])
    if found.skipped and not skip_unreadable:
        raise next(iter(found.skipped.values()))
    X = found.matrices[0]
    return Features(X, found.paths, found.digests, space.identity, found.skipped, space.split(X))


def compute(paths: Sequence[Path], spaces: Sequence[Space]) -> Extraction:
    """Compute several spaces over the same images, taking from the store what is there.

    Parameters
    ----------
    paths : sequence of Path
        The images; the same content in two places is computed once.
    spaces : sequence of Space
        What to compute of each.

    Returns
    -------
    Extraction
        An image that cannot be read costs only itself.
    """
    filled = fill(paths, spaces)
    return Extraction(
        paths=filled.paths,
        digests=filled.digests,
        kept=filled.kept,
        matrices=[_matrix(filled, place) for place in range(len(spaces))],
        skipped=filled.skipped,
        computed=filled.computed,
    )


def _matrix(filled: Filled, space: int) -> NDArray[np.float32]:
    """All rows of a space."""
    X = np.empty((len(filled), filled.spaces[space].width), np.float32)
    start = 0
    for rows in filled.rows(space):
        X[start : start + len(rows)] = rows
        start += len(rows)
    return X
