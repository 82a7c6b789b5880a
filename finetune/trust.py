"""What to know before trusting a run's number, and what predictions need for their reliability.

The held-out images are evaluated here, once. Beside their accuracy: that without held-out images that have a
copy in training, whether training and held-out images are of different kinds, whether cross-validated and
held-out accuracy contradict each other, and what `finetune predict` needs for prediction sets and for images
unlike anything in training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.errors import RunError
from finetune.evaluation import (
    Contradiction,
    Evaluation,
    PredictionSets,
    Shift,
    Unfamiliar,
    contradiction,
    evaluate,
    fit_prediction_sets,
    measure_shift,
    softmax,
)
from finetune.evaluation.metrics import SubsetAccuracy
from finetune.runs.saved import model_errors
from zoo.reading import read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetune.experiment import Experiment
    from finetune.method import Fitted, Images

__all__ = ["Assessment", "Knowledge", "assess", "held_out_with_copy", "load_sets", "shift"]

#: Cross-validated and held-out accuracy contradict each other below this p-value.
LEVEL = 0.01


@dataclass(frozen=True, eq=False)
class Assessment:
    """The evaluation of the held-out images, and what puts it in doubt.

    Attributes
    ----------
    test : Evaluation
        With `without_copies` where held-out images have copies in training.
    probabilities : (n, c) array
        Of the held-out images.
    shift : Shift or None
        None unless the data bring their own split.
    contradiction : Contradiction or None
        Cross-validated against held-out accuracy; None where nothing was cross-validated image by image.
    held_out_with_copy : int
        Held-out images with a copy in training.
    warnings : list of str
        The most important first.
    """

    test: Evaluation
    probabilities: NDArray[np.float64]
    shift: Shift | None
    contradiction: Contradiction | None
    held_out_with_copy: int
    warnings: list[str]


def assess(experiment: Experiment, fitted: Fitted, train: Images, held_out: Images) -> Assessment:
    """Evaluate a fitted classifier on the held-out images.

    Parameters
    ----------
    experiment : Experiment
    fitted : Fitted
    train, held_out : Images
        As the method was, and is, given them.

    Returns
    -------
    Assessment
    """
    probabilities = softmax(fitted.decision_function(held_out))
    correct = probabilities.argmax(axis=1) == held_out.labels
    test = evaluate(held_out.labels, probabilities, fitted.classes, held_out.groups)
    copied = held_out_with_copy(experiment)
    if copied.any() and not copied.all():
        rest = None if held_out.groups is None else held_out.groups[~copied]
        test = replace(test, without_copies=SubsetAccuracy.of(correct[~copied], rest))
    differs_in_kind = shift(experiment)
    differs = _contradiction(fitted, train, correct, held_out.groups)
    found = Assessment(test, probabilities, differs_in_kind, differs, int(copied.sum()), [])
    return replace(found, warnings=_warnings(found))


def held_out_with_copy(experiment: Experiment) -> NDArray[np.bool_]:
    """Return whether each held-out image has a copy in training."""
    groups, split = experiment.copies.copies.groups, experiment.split
    return np.isin(groups[split.test], groups[split.train])


def shift(experiment: Experiment) -> Shift | None:
    """Measure how well a classifier separates training from held-out images; None for a split drawn here."""
    if experiment.dataset.splits is None:
        return None
    X, y = experiment.matrices[experiment.backbone.name], experiment.dataset.labels
    train, test = experiment.split.train, experiment.split.test
    if not np.isin(y[test], y[train]).any():
        return None
    own = experiment.dataset.groups
    groups: NDArray[Any] = np.arange(len(y)) if own is None else own
    return measure_shift(
        X[train],
        X[test],
        groups[train],
        groups[test],
        y[train],
        y[test],
        random_state=experiment.request.seed,
    )


def _contradiction(
    fitted: Fitted, train: Images, correct: NDArray[np.bool_], groups: NDArray[Any] | None
) -> Contradiction | None:
    if fitted.out_of_fold is None:
        return None
    cv_correct = fitted.out_of_fold.argmax(axis=1) == train.labels
    return contradiction(cv_correct, correct, train.groups, groups)


def _warnings(found: Assessment) -> list[str]:
    """The contradiction with its likeliest reason first, then each reason by itself."""
    copies, shift, test = _about_copies(found), _about_shift(found), found.test
    differs = found.contradiction
    if differs is None or differs.p_value >= LEVEL:
        return [*copies, *shift]
    cv = test.accuracy + differs.difference
    more = "lower" if differs.difference > 0 else "higher"
    first = (
        f"Held-out accuracy ({test.accuracy:.1%}) is {more} than cross-validated accuracy ({cv:.1%}) by more "
        f"than chance ({_p(differs.p_value)})."
    )
    if differs.difference > 0 and shift:
        reason = "The likeliest reason: the held-out images are of another kind than the training images."
        fix = "Add training images like those that the classifier will be used on."
    elif differs.difference < 0 and copies:
        reason = "The likeliest reason: held-out images have copies in training."
        fix = "Trust the accuracy without them."
    elif differs.difference > 0:
        reason = (
            "The likeliest reason: training images that look alike but were not found to be of one group."
        )
        fix = "Name what belongs together with --group-by, and trust the lower number."
    else:
        reason = "The likeliest reason: the held-out images are easier."
        fix = "Trust the lower number."
    return [f"{first} {reason} {fix}", *copies, *shift]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.1g}"


def _about_copies(found: Assessment) -> list[str]:
    n, without = found.held_out_with_copy, found.test.without_copies
    if not n:
        return []
    have = "has a copy" if n == 1 else "have copies"
    if without is None:
        return [f"All {n} held-out images {have} in training: their accuracy is no estimate for new images."]
    lo, hi = without.ci95
    return [
        f"{n:,} of the {found.test.n:,} held-out images {have} in training. Without "
        f"{'it' if n == 1 else 'them'}, accuracy is {without.accuracy:.1%} ({lo:.1%} to {hi:.1%}, "
        f"{without.n:,} images)."
    ]


def _about_shift(found: Assessment) -> list[str]:
    if found.shift is None or not found.shift.differs:
        return []
    return [
        f"Training and held-out images are of different kinds: a classifier separates them (AUC "
        f"{found.shift.auc:.2f}, where a random split gives 0.50). Cross-validated accuracy is that on "
        "images like the training images, held-out accuracy that on images like the held-out ones."
    ]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What a saved model stores for prediction sets and for unfamiliar images.

    Attributes
    ----------
    sets : PredictionSets or None
        For prediction sets that hold the right class with a given probability.
    unfamiliar : Unfamiliar or None
        For images unlike anything in training.
    """

    sets: PredictionSets | None = None
    unfamiliar: Unfamiliar | None = None

    @classmethod
    def of(cls, fitted: Fitted, train: Images) -> Knowledge:
        """Learn it from the training images, whole groups at a time.

        A network that was trained only has scores of the images that its learning rate was chosen on, and no
        features to compare others with.
        """
        if fitted.validation is not None:
            rows, scores = fitted.validation
            if fitted.out_of_fold is not None:
                rows, scores = np.arange(len(train)), fitted.out_of_fold
            some = train.subset(rows)
            return cls(fit_prediction_sets(softmax(scores), some.labels, some.groups))
        if fitted.out_of_fold is None:
            return cls()
        sets = fit_prediction_sets(softmax(fitted.out_of_fold), train.labels, train.groups)
        enough = train.groups is None or len(np.unique(train.groups)) > 1
        return cls(sets, Unfamiliar.fit(train.last, train.groups) if enough else None)

    def save(self, folder: Path) -> None:
        """Write it beside a saved model."""
        from safetensors.numpy import save

        if self.sets is not None:
            text = json.dumps(self.sets.to_dict(), indent=1)
            (folder / "prediction_sets.json").write_text(text, encoding="utf-8")
        if self.unfamiliar is not None:
            arrays = {name: np.ascontiguousarray(a) for name, a in self.unfamiliar.to_arrays().items()}
            (folder / "unfamiliar.safetensors").write_bytes(save(arrays))

    @classmethod
    def load(cls, folder: Path) -> Knowledge:
        """Read what :meth:`save` wrote; what is not there is None."""
        from safetensors.numpy import load_file

        unfamiliar = folder / "unfamiliar.safetensors"
        with model_errors(folder):
            return cls(
                load_sets(folder),
                Unfamiliar.from_arrays(load_file(unfamiliar)) if unfamiliar.exists() else None,
            )

    def prediction_sets(self, probabilities: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
        """Return whether each class is in each image's set, (m, c).

        Raises
        ------
        RunError
            If the run cannot promise that coverage.
        """
        if self.sets is None:
            raise RunError("This run has no out-of-fold predictions, so it cannot give --coverage.", _RETRAIN)
        try:
            return self.sets.predict(probabilities, level)
        except ValueError as error:
            problem, _, step = str(error).partition(". ")
            raise RunError(f"{problem}.", step or "Give a coverage between 0 and 1, such as 0.95.") from error

    def unfamiliarity(self, X: NDArray[np.float32], level: float | None = None) -> NDArray[np.float64]:
        """Return each image's p-value: small where it is unlike anything in training.

        Raises
        ------
        RunError
            If the run does not know, or its training images are too few for the level.
        """
        return self._checked(level).predict(X)

    def check_level(self, level: float) -> None:
        """Raise, as :meth:`unfamiliarity` does, where images cannot be rejected at a level."""
        self._checked(level)

    def _checked(self, level: float | None) -> Unfamiliar:
        if self.unfamiliar is None:
            raise RunError("This run has no record of its training features for --reject.", _RETRAIN)
        if level is not None and not 0 < level < 1:
            raise RunError(f"--reject is {level:g}.", "Give a share between 0 and 1, such as 0.05.")
        if level is not None and level < self.unfamiliar.lowest:
            lowest = self.unfamiliar.lowest
            raise RunError(
                f"--reject {level:g} would reject nothing: the training images allow {lowest:.2g} or more.",
                f"Give --reject {lowest:.2g} or more.",
            )
        return self.unfamiliar


def load_sets(folder: Path) -> PredictionSets | None:
    """Read a saved model's prediction sets, if it has any."""
    file = folder / "prediction_sets.json"
    with model_errors(folder):
        return PredictionSets.from_dict(read_json(file)) if file.exists() else None


_RETRAIN = "Train with a strategy that cross-validates: probe, kernel, knn or svm."
