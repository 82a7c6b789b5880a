"""Which images are held out, and in which fold each other one is: stratified, whole groups, by seed.

Held-out images are evaluated once, at the end. Everything that is chosen before is chosen by
cross-validation on the rest, with the folds made here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zoo.errors import DataError

__all__ = ["Folds", "Split", "folds", "hold_out", "judging_folds", "smallest_class"]

#: So many held-out images are enough to decide; folds are added until there are.
ENOUGH = 90

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Which images train and which are held out.

    Attributes
    ----------
    train, test : ndarray of int64
        Indices in ascending order; together they are all images, and they share none.
    kind : str
        ``folders``, ``column``, ``stratified`` or ``grouped``.
    warning : str
        What a user should know about it; empty if nothing.
    """

    train: Indices
    test: Indices
    kind: str
    warning: str = ""


@dataclass(frozen=True, eq=False)
class Folds:
    """Pairs of training and validation indices for cross-validation.

    Attributes
    ----------
    pairs : list of (ndarray of int64, ndarray of int64)
        Indices in ascending order, `n_folds` pairs for each repeat.
    n_folds : int
        How many folds each repeat has; perhaps fewer than requested.
    warning : str
        Why there are fewer; empty if there are not.
    """

    pairs: list[tuple[Indices, Indices]]
    n_folds: int
    warning: str = ""


def hold_out(
    labels: npt.ArrayLike,
    splits: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    fraction: float = 0.2,
    splits_from: str = "folders",
) -> Split:
    """Set images aside for the one evaluation at the end.

    A split that the data bring stands. Otherwise a fraction of each class is drawn (at least one image,
    and at least two are left), or whole groups are.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Class indices.
    splits : array of str, shape (n,), optional
        ``train`` or ``test``, if the data have a split.
    groups : array, shape (n,), optional
        Images of one group stay on one side.
    seed : int
        Not negative; equal seeds give equal splits.
    fraction : float
        Of the images to hold out, between 0 and 1.
    splits_from : str
        The kind to report where `splits` is given: ``folders`` or ``column``.

    Raises
    ------
    DataError
        If a class has fewer than 3 images to draw from, or the groups leave nothing to hold out.

    Examples
    --------
    >>> split = hold_out([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    >>> len(split.train), len(split.test)
    (8, 2)
    """
    y = np.asarray(labels, dtype=np.int64)
    if splits is not None:
        held = np.asarray(splits) == "test"
        return Split(np.flatnonzero(~held), np.flatnonzero(held), splits_from, _straddling(held, groups))
    if groups is not None:
        return _hold_out_groups(y, np.asarray(groups), seed, fraction)
    return _hold_out_images(y, seed, fraction)


def folds(
    labels: npt.ArrayLike,
    n_folds: int = 5,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    repeats: int = 1,
) -> Folds:
    """Deal images into folds for cross-validation, every class as evenly as can be.

    Without groups, a class's images and the images altogether each differ by at most one between
    folds. With groups, a group is in one fold whole, and the classes are as even as that allows.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Class indices.
    n_folds : int
        At least 2. A class with fewer images, or groups, makes it shrink, with a warning.
    groups : array, shape (n,), optional
        Images of one group are in one fold.
    seed : int
        Not negative; equal seeds give equal folds.
    repeats : int
        How often to deal again.

    Raises
    ------
    DataError
        If a class has a single image, images of a single group, or groups that cannot be dealt so that two
        folds have images of it.
    """
    y = np.asarray(labels, dtype=np.int64)
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}, but cross-validation needs at least 2")
    k = smallest_class(y, groups)
    if k < 2:
        raise _no_folds(y, groups)
    warning = ""
    if k < n_folds:
        what = "images" if groups is None else "groups"
        warning = f"{k} folds instead of {n_folds}, because a class has only {k} {what}."
    k = min(k, n_folds)
    pairs = []
    for repeat in range(repeats):
        if groups is None:
            fold_of = _deal(y, k, _generator(seed, 1, repeat))
        else:
            fold_of = _deal_spread(y, np.asarray(groups), k, _generator(seed, 1, repeat))
        pairs += [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(k)]
    return Folds(pairs, k, warning)


#: What to do about groups that cannot be split.
_OTHER_GROUPS = "Name a grouping with at least two groups, or leave the groups out."

#: How often groups are dealt again where all images of a class came into one fold.
_TRIES = 20


def _deal_spread(y: Indices, groups: npt.NDArray[Any], k: int, generator: np.random.Generator) -> Indices:
    """Give each image its group's fold so that every class is in two folds at least."""
    for _ in range(_TRIES):
        fold_of = _deal_groups(y, groups, k, generator)
        if all(len(np.unique(fold_of[y == label])) > 1 for label in np.unique(y)):
            return fold_of
    raise DataError(
        "These groups leave all images of a class in one fold, so it cannot be cross-validated.",
        "Add images of another group to it, name another grouping, or take the class out.",
    )


def _no_folds(y: Indices, groups: npt.ArrayLike | None) -> DataError:
    """The error where a class cannot be in two folds."""
    if groups is None:
        return DataError(
            "A class has a single training image, so it cannot be cross-validated.",
            "Add images to it or take it out.",
        )
    if len(np.unique(np.asarray(groups))) == 1:
        return DataError("All training images are in one group.", _OTHER_GROUPS)
    return DataError(
        "A class has training images of one group only, so it cannot be cross-validated.",
        "Add images of another group to it, name another grouping, or take the class out.",
    )


def smallest_class(labels: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> int:
    """Return how many images, or groups where there are any, the smallest class has."""
    y = np.asarray(labels)
    if groups is None:
        return int(np.unique(y, return_counts=True)[1].min())
    names = np.asarray(groups)
    return min(len(np.unique(names[y == label])) for label in np.unique(y))


def _straddling(held: npt.NDArray[np.bool_], groups: npt.ArrayLike | None) -> str:
    """Return a warning where a split that the data bring has images of one group on both sides."""
    if groups is None:
        return ""
    names = np.asarray(groups)
    both = sorted(set(names[held].tolist()) & set(names[~held].tolist()))
    if not both:
        return ""
    n = int(np.isin(names[held], both).sum())
    return (
        f"The data's own split has images of {_counted(len(both), 'group')} on both sides "
        f"({both[0]} for one): {n} of the {held.sum()} held-out images, whose accuracy may be too good."
    )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _generator(*seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seeds))


def _deal(y: Indices, k: int, generator: np.random.Generator) -> Indices:
    """Give each image a fold, like cards from a pack that is shuffled class by class.

    Going round once and not anew for each class keeps both counts even: a class's cards lie together,
    so that no two folds differ by more than one of them, and so does the pack.
    """
    pack = np.concatenate([generator.permutation(np.flatnonzero(y == label)) for label in np.unique(y)])
    fold_of = np.empty(len(y), dtype=np.int64)
    fold_of[pack] = np.arange(len(y)) % k
    return fold_of


def _deal_groups(y: Indices, groups: npt.NDArray[Any], k: int, generator: np.random.Generator) -> Indices:
    """Give each image its group's fold, the classes as even as whole groups allow.

    Large groups come first, each to the fold that has the smallest share of its classes; images that stand
    for themselves then fill the gaps, class by class.
    """
    _, group_of, size = np.unique(groups, return_inverse=True, return_counts=True)
    classes, y = np.unique(y, return_inverse=True)
    n_of_class = np.bincount(y)
    held = np.zeros((k, len(classes)))  # images of each class in each fold
    fold_of_group = np.empty(len(size), dtype=np.int64)
    shuffled = generator.permutation(len(size))
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(size)[:-1])
    for group in order[size[order] > 1]:
        counts = np.bincount(y[members[group]], minlength=len(classes))
        share = (held * (counts / n_of_class)).sum(axis=1)
        fold = int(np.lexsort((held.sum(axis=1), share))[0])
        held[fold] += counts
        fold_of_group[group] = fold
    singles = order[size[order] == 1]
    labels = y[[members[group][0] for group in singles]]
    for label in range(len(classes)):
        for group in singles[labels == label]:
            fold = int(np.lexsort((held.sum(axis=1), held[:, label]))[0])
            held[fold, label] += 1
            fold_of_group[group] = fold
    return fold_of_group[group_of]


def _hold_out_images(y: Indices, seed: int, fraction: float) -> Split:
    """Hold out a fraction of each class."""
    chosen = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        if len(members) < 3:
            raise DataError(
                f"Class number {label} has {len(members)} images, too few to hold one out.",
                "Each class needs at least 3: add images to it or take it out.",
            )
        size = min(max(round(len(members) * fraction), 1), len(members) - 2)
        # A stream for each class, so that more images in one class leave the others' split alone.
        chosen.append(_generator(seed, 0, int(label)).permutation(members)[:size])
    test = np.sort(np.concatenate(chosen))
    return Split(np.setdiff1d(np.arange(len(y)), test), test, "stratified")


def _with_whole_groups(y: Indices, groups: npt.NDArray[Any], split: Split) -> Split | None:
    """Put each group on the side of most of its images; None if a class is then missing on one side."""
    held = np.zeros(len(y))
    held[split.test] = 1
    group_of = np.unique(groups, return_inverse=True)[1]
    whole = (np.bincount(group_of, held) / np.bincount(group_of) > 0.5)[group_of]
    if any(len(np.unique(whole[y == label])) < 2 for label in np.unique(y)):
        return None
    return Split(np.flatnonzero(~whole), np.flatnonzero(whole), "grouped")


def _hold_out_groups(y: Indices, groups: npt.NDArray[Any], seed: int, fraction: float) -> Split:
    """Hold out whole groups.

    Where most images stand for themselves, the split is the one without groups, but for whole groups. Else
    it is that fold of whole groups which shows most classes and is nearest in size.
    """
    n_groups = len(np.unique(groups))
    if n_groups == 1:
        raise DataError("All images are in one group.", _OTHER_GROUPS)
    if n_groups > len(y) / 2 and smallest_class(y) >= 3:
        split = _with_whole_groups(y, groups, _hold_out_images(y, seed, fraction))
        if split is not None:
            return split
    k = min(max(round(1 / fraction), 2), n_groups)
    fold_of = _deal_groups(y, groups, k, _generator(seed, 0))
    classes = set(np.unique(y).tolist())

    def shortcoming(fold: int) -> tuple[int, int, float]:
        train, test = y[fold_of != fold], y[fold_of == fold]
        return len(classes - set(train)), len(classes - set(test)), abs(len(test) - fraction * len(y))

    best = min(range(k), key=shortcoming)
    untrained, unseen, _ = shortcoming(best)
    train, test = np.flatnonzero(fold_of != best), np.flatnonzero(fold_of == best)
    if untrained or len(test) == 0:
        raise DataError(
            "With these groups, holding some out leaves a class without training images.",
            "Each class needs images of at least two groups: name another grouping or leave it out.",
        )
    missing = f"The held-out groups show none of {unseen} of the {len(classes)} classes." if unseen else ""
    return Split(train, test, "grouped", missing)


def judging_folds(folds: Folds) -> list[tuple[Indices, Indices]]:
    """Return as many folds, from the first on, as hold enough images out to choose a training by."""
    most, images = 0, 0
    while most < folds.n_folds and images < ENOUGH:
        images += len(folds.pairs[most][1])
        most += 1
    return folds.pairs[:most]
