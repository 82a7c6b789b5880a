"""A pretrained CNN as a step of a scikit-learn pipeline."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from zoo.backbone import load
from zoo.features.extract import extract

__all__ = ["FeatureExtractor"]


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Turns image paths into a pretrained CNN's features.

    Parameters
    ----------
    model : str, optional
        A name for :func:`zoo.load`.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    features, pool, exact_decoding : optional
        As in :class:`zoo.features.spaces.BackboneSpace`; several taps stand side by side.
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
        engine: str = "auto",
        precision: str = "fp32",
        features: str | Sequence[str] = "last",
        pool: str = "avg",
        exact_decoding: bool = False,
        view: str = "crop",
        tta: str = "none",
    ) -> None:
        self.model = model
        self.engine = engine
        self.precision = precision
        self.features = features
        self.pool = pool
        self.exact_decoding = exact_decoding
        self.view = view
        self.tta = tta

    def fit(self, X: Sequence[str | os.PathLike[str]], y: Any = None) -> "FeatureExtractor":
        """Make the network ready; nothing is learned from `X`."""
        self.backbone_ = load(self.model)
        return self

    def transform(self, X: Sequence[str | os.PathLike[str]]) -> NDArray[np.float32]:
        """Return the features of the images at the paths `X`, shape (n, number of features)."""
        check_is_fitted(self)
        options = {name: value for name, value in self.get_params().items() if name != "model"}
        return extract(self.backbone_, X, **options).X
