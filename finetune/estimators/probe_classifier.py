"""Our linear classifier for anybody's matrix, as a scikit-learn estimator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from finetune.data.plan import inner_folds, plain
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.heads.linear import LOSSES
from finetune.heads.regularisation import TOLERANCE, L2Path

__all__ = ["ProbeClassifier"]


class ProbeClassifier(ClassifierMixin, BaseEstimator):
    """A linear classifier whose regularisation and temperature are chosen by cross-validation.

    It is the classifier of ``finetune --strategy probe``, for features from anywhere: multinomial logistic
    regression on standardised columns, with the L2 that has the least loss on images not trained on, found
    on a path of values that is extended where its end is the best, and all folds solved side by side. The
    probabilities are calibrated by a temperature from the same out-of-fold scores.

    Parameters
    ----------
    l2 : float, optional
        Factor of the penalty, ``1 / (C n)`` in scikit-learn's terms; by default chosen.
    loss : str, optional
        ``softmax``, or ``hinge`` for the multi-class SVM loss.
    class_weight : str or dict, optional
        ``balanced`` gives every class the same weight; a dict has weights by class, 1 for those it lacks.
    cv : int, optional
        Folds of the cross-validation; fewer where a class has fewer rows or groups.
    random_state : int, RandomState or None, optional
        Of the folds.

    Attributes
    ----------
    classes_ : (c,) array
        The classes, sorted.
    coef_ : (c, d) array
        Weights on the columns as they come, calibrated; (1, d) with two classes.
    intercept_ : (c,) array
        Biases; (1,) with two classes.
    l2_ : float
        The L2 that was chosen.
    l2_path_ : list of dict
        ``l2``, ``loss`` and ``accuracy`` of what was tried, cross-validated.
    temperature_ : float
        What the scores were divided by.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where the columns have names.

    Notes
    -----
    Columns are divided by their standard deviation, but by no less than 0.3 of the median one, so that a
    feature that fires on one row only does not dominate. That suits columns of one kind, such as a network's
    features; where columns have different units, put scikit-learn's ``StandardScaler`` before it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = ProbeClassifier().fit(X[::2], y[::2])
    >>> classifier.score(X[1::2], y[1::2]) > 0.95
    True
    """

    def __init__(
        self,
        l2: float | None = None,
        *,
        loss: str = "softmax",
        class_weight: str | Mapping[Any, float] | None = None,
        cv: int = 5,
        random_state: Any = 0,
    ) -> None:
        self.l2 = l2
        self.loss = loss
        self.class_weight = class_weight
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> "ProbeClassifier":
        """Choose the L2 by cross-validation, and fit the classifier to all rows.

        Parameters
        ----------
        X : (n, d) array
        y : (n,) array
            Classes.
        groups : (n,) array, optional
            Rows of one group are never on both sides of a fold.

        Raises
        ------
        ValueError
            If a parameter is out of range, there are fewer than two classes, or X or y is not what it
            should be.
        """
        self._check_parameters()
        checked, y = validate_data(self, X, y, dtype=(np.float64, np.float32), ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"ProbeClassifier needs at least two classes, and y has one class, {self.classes_[0]!r}."
            )
        if groups is not None:
            groups = np.asarray(groups)
            check_consistent_length(checked, groups)
        self._fit(checked, labels.astype(np.int64), groups)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities.

        With two classes (n,): positive where the second is more probable.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        # Less the mean first: large means and small differences leave float32 nothing.
        scores = (np.asarray(X, np.float64) - self._mean) @ self.coef_.T + self._bias
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, (n, c)."""
        scores = self.decision_function(X)
        return softmax(np.stack([-scores / 2, scores / 2], axis=1) if scores.ndim == 1 else scores)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row, (n,)."""
        scores = self.decision_function(X)
        best = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def _check_parameters(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; choose one of {', '.join(LOSSES)}.")
        if self.l2 is not None and not self.l2 > 0:
            raise ValueError(f"l2 is {self.l2}; give a positive number, or None to have it chosen.")
        if self.cv < 2:
            raise ValueError(f"cv is {self.cv}; give at least 2 folds.")
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise ValueError(f"class_weight is {self.class_weight!r}; give 'balanced', a dict or None.")

    def _fit(self, X: NDArray[Any], labels: NDArray[np.int64], groups: NDArray[Any] | None) -> None:
        self._mean = X.mean(axis=0, dtype=np.float64)
        centred = (X - self._mean).astype(np.float32)
        loss = LOSSES[self.loss]
        dealt = inner_folds(labels, groups, self.cv, self._seed())
        path = L2Path(
            centred,
            labels,
            plain(dealt),
            len(self.classes_),
            loss,
            criterion=lambda scores, y: float(loss(scores.T[None], y)[0].mean()),
            class_weight=self._weights(),
            tolerance=TOLERANCE,
        )
        if self.l2 is None:
            path.fit()
        else:
            path.fit_single(self.l2)
        self.l2_ = path.best().l2
        self.l2_path_ = [
            {"l2": p.l2, "loss": p.criterion[0], "accuracy": float(path.accuracies(p).mean())}
            for p in path.points
        ]
        self.temperature_ = fit_temperature(path.out_of_fold(), labels)
        found = path.classifier()
        W, b = (values.astype(np.float64) / self.temperature_ for values in (found.W, found.b))
        if len(self.classes_) == 2:
            W, b = W[1:] - W[:1], b[1:] - b[:1]
        self.coef_, self._bias = W, b
        self.intercept_ = b - W @ self._mean

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _weights(self) -> str | tuple[float, ...]:
        """Weights of the classes, as :func:`finetune.heads.linear.sample_weight` takes them."""
        if self.class_weight is None:
            return "none"
        if isinstance(self.class_weight, str):
            return self.class_weight
        return tuple(float(self.class_weight.get(name, 1.0)) for name in self.classes_.tolist())
