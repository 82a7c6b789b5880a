"""A pretrained CNN as a step of a scikit-learn pipeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from zoo.backbone import load
from zoo.features.fill import compute
from zoo.features.mirror import Mirrored, averaged, check_tta
from zoo.features.spaces import BackboneSpace, Space
from zoo.images.memory import ImageInMemory, image_sources

__all__ = ["FeatureExtractor", "read_features"]


def read_features(
    images: Sequence[Path | ImageInMemory], space: Space, tta: str = "none"
) -> NDArray[np.float32]:
    """Return the features of images, (n, d), in their order.

    Parameters
    ----------
    images : sequence of Path or ImageInMemory
    space : Space
    tta : str, optional
        ``mirror`` for the mean of the features of an image and of its mirror image.

    Raises
    ------
    UnreadableImage
        If an image cannot be read.
    """
    mirrored = [Mirrored(space)] if isinstance(space, BackboneSpace) and tta == "mirror" else []
    found = compute(images, [space, *mirrored])
    for error in found.skipped.values():
        raise error
    X: NDArray[np.float32] = averaged(*found.matrices) if mirrored else found.matrices[0]
    return X


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Turns images into a pretrained CNN's features.

    Images are paths, Pillow's images, or uint8 arrays, (height, width, 3); also one array of n images, or a
    column of a data frame. Features are stored, so that a pipeline that is fitted again, on other folds or
    with other parameters, computes none twice.

    Parameters
    ----------
    model : str, optional
        A name for :func:`zoo.load`.
    features : str or sequence of str, optional
        As in :class:`zoo.features.spaces.BackboneSpace`; several taps stand side by side.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    pool, exact_decoding : optional
        As in :class:`zoo.features.spaces.BackboneSpace`.
    view, tta : str, optional
        As in :func:`zoo.extract`.

    Attributes
    ----------
    backbone_ : Backbone
        The network, once fitted.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> classifier = make_pipeline(FeatureExtractor("efficientnet_lite0"), LogisticRegression())
    """

    def __init__(
        self,
        model: str = "efficientnet_lite0",
        features: str | Sequence[str] = "last",
        engine: str = "auto",
        *,
        precision: str = "fp32",
        pool: str = "avg",
        exact_decoding: bool = False,
        view: str = "crop",
        tta: str = "none",
    ) -> None:
        self.model = model
        self.features = features
        self.engine = engine
        self.precision = precision
        self.pool = pool
        self.exact_decoding = exact_decoding
        self.view = view
        self.tta = tta

    def fit(self, X: Any, y: Any = None) -> "FeatureExtractor":
        """Make the network ready; nothing is learned from `X`.

        Raises
        ------
        ZooError
            If there is no such network, layer or engine.
        """
        image_sources(X)  # what is no image is found now, not after minutes of other steps
        check_tta(self.tta)
        self.backbone_ = load(self.model).with_view(self.view)
        self._space = self._make_space()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the features of images, (n, number of features).

        Raises
        ------
        UnreadableImage
            If an image cannot be read.
        """
        check_is_fitted(self)
        if not hasattr(self, "_space"):  # after unpickling
            self._space = self._make_space()
        return read_features(image_sources(X), self._space, self.tta)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return a name for each feature: where it was read, and its place there.

        Parameters
        ----------
        input_features : ignored
            Images have no columns.
        """
        check_is_fitted(self)
        taps = self._make_space().taps.items()
        names = [f"{tap}_{i}" for tap, place in taps for i in range(place.width(self.backbone_))]
        return np.array(names, dtype=object)

    def _make_space(self) -> BackboneSpace:
        return BackboneSpace(
            self.backbone_,
            self.engine,
            self.precision,
            features=self.features,
            pool=self.pool,
            exact_decoding=self.exact_decoding,
        )

    def __getstate__(self) -> dict[str, Any]:
        # An engine belongs to its process, and is made again where one is needed.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_space"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags
