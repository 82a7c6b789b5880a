"""From labelled images to a classifier, as a scikit-learn estimator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from finetune.data.plan import inner_folds
from finetune.errors import OptionError
from finetune.evaluation.calibration import softmax
from finetune.experiment import DEFAULT_MODEL
from finetune.method import Images, Method, Task
from finetune.methods import make_method
from finetune.runs.saved import FittedHead
from zoo.backbone import Backbone, load
from zoo.features.mirror import check_tta
from zoo.features.spaces import BackboneSpace, RawPixels, Space
from zoo.features.transformer import read_features
from zoo.images.memory import ImageInMemory, image_sources

__all__ = ["ImageClassifier"]


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of images, made by one of the strategies of ``finetune``.

    Images are paths, Pillow's images, or uint8 arrays, (height, width, 3); also one array of n images, or a
    column of a data frame. Features are stored, so that cross-validations and searches compute none twice.

    Parameters
    ----------
    strategy : str, optional
        One of :data:`finetune.methods.METHODS`: ``probe``, ``last-layers``, ``full``, ``knn``, ``svm``, ….
    model : str, optional
        A name for :func:`zoo.load`.
    features : str, optional
        What ``probe`` and ``svm`` read of the network: ``last``, ``stages``, or ``auto`` for a choice by
        cross-validation, which is their default.
    options : mapping, optional
        The strategy's other options by name, such as ``{"l2": 0.01}``.
    cv : int, optional
        Folds of the cross-validation by which the strategy chooses; fewer where a class has fewer images or
        groups.
    view, tta : str, optional
        As in :func:`zoo.extract`.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    random_state : int, RandomState or None, optional
        Of the folds, and of anything else random.

    Attributes
    ----------
    classes_ : (c,) array
        The classes, sorted.
    choice_ : dict
        What the strategy chose by cross-validation, with its score.
    warnings_ : list of str
        What to know before trusting the result.
    fitted_ : Fitted
        The classifier; ``fitted_.save(folder)`` writes it in timm's layout.

    Notes
    -----
    Images that show one thing are not looked for, as ``finetune`` does for a folder: pass `groups`, to the
    cross-validation and to `fit`. With ``sklearn.set_config(enable_metadata_routing=True)`` and
    ``set_fit_request(groups=True)``, ``cross_val_score`` passes them to both.

    Examples
    --------
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> cross_val_score(  # doctest: +SKIP
    ...     ImageClassifier("probe"), paths, labels, groups=groups, cv=GroupKFold(5)
    ... )
    """

    def __init__(
        self,
        strategy: str = "probe",
        model: str = DEFAULT_MODEL,
        *,
        features: str | None = None,
        options: Mapping[str, Any] | None = None,
        cv: int = 5,
        view: str = "crop",
        tta: str = "none",
        engine: str = "auto",
        precision: str = "fp32",
        random_state: Any = 0,
    ) -> None:
        self.strategy = strategy
        self.model = model
        self.features = features
        self.options = options
        self.cv = cv
        self.view = view
        self.tta = tta
        self.engine = engine
        self.precision = precision
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> "ImageClassifier":
        """Train on labelled images.

        Parameters
        ----------
        X : sequence of n images
        y : (n,) array
            Their classes.
        groups : (n,) array, optional
            Images of one group show one thing: they are never on both sides of a fold.

        Raises
        ------
        ZooError
            For what is wrong with the strategy, its options, the network or an image.
        ValueError
            If there are fewer than two classes, or the lengths differ.
        """
        method = self._method()
        images = image_sources(X)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        check_consistent_length(images, y, groups)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"ImageClassifier needs at least two classes, and y has one class, {self.classes_[0]!r}."
            )
        backbone = load(self.model).with_view(self.view) if method.inputs == "features" else None
        X = self._read(images, self._make_space(backbone, method.features))
        n_last = backbone.num_features if backbone and method.features == "stages" else None
        train = Images(
            cast("tuple[Path, ...]", tuple(images)),
            labels.astype(np.int64),
            X,
            None if groups is None else np.asarray(groups),
            n_last,
        )
        self.fitted_ = method.fit(self._task(train), backbone)
        self._prepare_space()
        self.choice_, self.warnings_ = self.fitted_.choice, self.fitted_.warnings
        return self

    def decision_function(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities.

        With two classes (n,): positive where the second is more probable.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (n, c)."""
        return softmax(self._scores(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each image, (n,)."""
        best = self._scores(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def _scores(self, X: Any) -> NDArray[np.floating[Any]]:
        check_is_fitted(self)
        images = image_sources(X)
        inputs: NDArray[Any] = np.empty((len(images), 0))  # a trained network works on the images themselves
        if isinstance(self.fitted_, FittedHead):
            if not hasattr(self, "_space"):  # after unpickling
                self._prepare_space()
            # In double precision, so that scores do not depend on which images are scored together.
            inputs = self._read(images, self._space).astype(np.float64)
        paths, unknown = cast("tuple[Path, ...]", tuple(images)), np.zeros(len(images), np.int64)
        return self.fitted_.decision_function(Images(paths, unknown, inputs))

    def _method(self) -> Method:
        if self.cv < 2:
            raise ValueError(f"cv is {self.cv}; give at least 2 folds.")
        method = make_method(self.strategy, **{"features": self.features, **(self.options or {})})
        check_tta(self.tta)
        if self.tta != "none" and (method.trains_network or method.inputs == "pixels"):
            raise OptionError(
                f"{self.strategy} reads no features that tta={self.tta!r} could average.",
                "Leave tta out, or choose another strategy.",
            )
        return method

    def _read(self, images: list[Path | ImageInMemory], space: Space) -> NDArray[np.float32]:
        """Return what a head works on: features, or pixels."""
        return read_features(images, space, self.tta)

    def _task(self, train: Images) -> Task:
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = check_random_state(seed).randint(2**31 - 1)
        folds = inner_folds(train.labels, train.groups, self.cv, int(seed))
        return Task(
            train,
            folds,
            tuple(map(str, self.classes_)),
            int(seed),
            engine=self.engine,
            precision=self.precision,
            tta=self.tta,
        )

    def _prepare_space(self) -> None:
        """Make the space that new images are read in: of what the head took, where there was a choice."""
        self.__dict__.pop("_space", None)  # of an earlier fit
        if isinstance(self.fitted_, FittedHead):
            self._space = self._make_space(self.fitted_.backbone, self.fitted_.features)

    def _make_space(self, backbone: Backbone | None, features: str) -> Space:
        if backbone is None:
            return RawPixels()
        return BackboneSpace(backbone, self.engine, self.precision, features=features)

    def __getstate__(self) -> dict[str, Any]:
        # An engine belongs to its process, and is made again where one is needed.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_space"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags
