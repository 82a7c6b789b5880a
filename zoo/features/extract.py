"""The library's way from images to features: :func:`extract`."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone, load
from zoo.features.fill import Extraction, compute
from zoo.features.mirror import Mirrored, averaged, check_tta
from zoo.features.spaces import BackboneSpace
from zoo.images.decode import UnreadableImage

__all__ = ["Extraction", "Features", "compute", "extract"]


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
    taps : dict of str to (n, k) float32 array
        The part of `X` that each tap gave, by its name.
    """

    X: NDArray[np.float32]
    paths: list[Path]
    digests: list[str]
    identity: dict[str, Any]
    skipped: dict[int, UnreadableImage] = field(default_factory=dict)
    taps: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.X)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Let ``numpy.asarray(features)`` and scikit-learn take the matrix."""
        return np.array(self.X, dtype=dtype, copy=copy)


def extract(
    model: str | Backbone,
    paths: Iterable[str | os.PathLike[str]],
    *,
    engine: str = "auto",
    precision: str = "fp32",
    features: str | Sequence[str] = "last",
    pool: str = "avg",
    exact_decoding: bool = False,
    view: str = "crop",
    tta: str = "none",
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
    features, pool, exact_decoding : optional
        As in :class:`zoo.features.spaces.BackboneSpace`.
    view : str, optional
        What the network sees of an image, as in :meth:`zoo.backbone.Backbone.with_view`.
    tta : str, optional
        ``mirror`` for the mean of the features of an image and of its mirror image; or ``none``.
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
    >>> from pathlib import Path
    >>> import sklearn.datasets
    >>> folder = Path(sklearn.datasets.__file__).parent / "images"
    >>> extract("efficientnet_lite0", [folder / "china.jpg", folder / "flower.jpg"]).X.shape
    (2, 1280)
    >>> found = extract("efficientnet_lite0", [folder / "china.jpg"], features=["stages.1", "stages.3:max"])
    >>> {name: X.shape for name, X in found.taps.items()}
    {'stages.1': (1, 24), 'stages.3:max': (1, 112)}
    """
    check_tta(tta)
    backbone = (load(model) if isinstance(model, str) else model).with_view(view)
    space = BackboneSpace(
        backbone, engine, precision, features=features, pool=pool, exact_decoding=exact_decoding
    )
    spaces = [space] if tta == "none" else [space, Mirrored(space)]
    found = compute([Path(path) for path in paths], spaces)
    if found.skipped and not skip_unreadable:
        raise next(iter(found.skipped.values()))
    X = found.matrices[0] if tta == "none" else averaged(*found.matrices)
    identity = space.identity if tta == "none" else {**space.identity, "tta": tta}
    return Features(X, found.paths, found.digests, identity, found.skipped, space.split(X))
