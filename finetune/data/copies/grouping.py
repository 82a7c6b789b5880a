"""What becomes of images that show one thing: kept together, dropped, or ignored with a warning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from finetune.data.copies.copies import Components, Copies, Pair, label_conflicts, small_classes
from finetune.data.dataset import Dataset
from finetune.data.notices import Notice

__all__ = ["Grouped", "apply_copies"]

#: Groups that a class needs to be trained on, validated on and held out.
LEAST_GROUPS = 3


@dataclass(frozen=True, eq=False)
class Grouped:
    """A data set with its copies dealt with.

    Attributes
    ----------
    dataset : Dataset
        With groups that join its own with those of copies; None where every image stands for itself.
    kept : int array
        Its images' places in the data set that was given.
    copies : Copies
        Of the images that are left.
    warnings : list of str
        What the user should know about the result.
    """

    dataset: Dataset
    kept: NDArray[np.int64]
    copies: Copies
    warnings: list[str]

    @property
    def conflicts(self) -> list[Pair]:
        """Copies with different labels, of which one must be wrong."""
        return label_conflicts(self.copies.pairs, self.dataset.labels)


def apply_copies(dataset: Dataset, copies: Copies, mode: str) -> Grouped:
    """Group, drop or ignore copies.

    Parameters
    ----------
    dataset : Dataset
        Of n images, perhaps with groups of its own.
    copies : Copies
        Of these images.
    mode : str
        ``group``: images that show one thing are in one group; ``drop``: of files or pixels that are equal
        and have one label, only the first is kept, in the training split where there is one, and the rest
        is grouped; ``ignore``: they are counted, and nothing else.

    Returns
    -------
    Grouped
    """
    kept = np.arange(len(dataset))
    notices = []
    if mode == "drop":
        kept, copies, dropped = _without_exact(dataset, copies)
        if dropped:
            one, many = "exact copy is left out", "exact copies are left out"
            notices = [Notice.about("dropped copies", dropped, one, many)]
        dataset = dataset.subset(kept)
    if not copies.pairs:
        return Grouped(dataset.noting(*notices), kept, copies, [])
    dataset = dataset.noting(*notices, *_notices(dataset, copies, mode))
    if mode == "ignore":
        warning = (
            f"{copies.n_images:,} images have copies, and --copies ignore lets them be on both sides of a "
            "split or fold: accuracies may be too good."
        )
        return Grouped(dataset, kept, copies, [warning])
    groups, warnings = _without_lumps(dataset, copies)
    return Grouped(replace(dataset, groups=_joined(dataset, groups)), kept, copies, warnings)


def _without_exact(dataset: Dataset, copies: Copies) -> tuple[NDArray[np.int64], Copies, list[str]]:
    """Keep one of each set of exact copies with one label; return the places kept, and the names dropped."""
    same = Components(len(dataset))
    for pair in copies.pairs:
        if pair.kind != "scene" and dataset.labels[pair.a] == dataset.labels[pair.b]:
            same.connect(pair.a, pair.b)
    sets = same.labels()
    training_first = np.zeros(len(dataset)) if dataset.splits is None else dataset.splits != "train"
    order = np.lexsort((np.arange(len(dataset)), training_first))
    _, first = np.unique(sets[order], return_index=True)
    kept = np.sort(order[first])
    names = dataset.names
    dropped = [names[i] for i in np.setdiff1d(np.arange(len(dataset)), kept)]
    return kept, _restricted(copies, kept), dropped


def _restricted(copies: Copies, kept: NDArray[np.int64]) -> Copies:
    """The copies among some of the images, whose groups stay connected."""
    groups = np.unique(copies.groups[kept], return_inverse=True)[1].astype(np.int64)
    place = {int(old): new for new, old in enumerate(kept)}
    pairs = [
        Pair(place[p.a], place[p.b], p.kind, p.score) for p in copies.pairs if p.a in place and p.b in place
    ]
    connected = Components(len(kept))
    for pair in pairs:
        connected.connect(pair.a, pair.b)
    first: dict[int, int] = {}
    for i, group in enumerate(groups.tolist()):
        if connected.connect(first.setdefault(group, i), i):
            pairs.append(Pair(first[group], i, "scene", 0.0))  # connected through an image that is dropped
    return Copies(tuple(pairs), groups)


def _without_lumps(dataset: Dataset, copies: Copies) -> tuple[NDArray[np.int64], list[str]]:
    """The groups, but for classes that would be left with too few of them: there every image stands alone."""
    if dataset.splits is not None:
        return copies.groups, []
    groups, warnings = copies.groups.copy(), []
    for small in small_classes(copies.groups, dataset.labels, LEAST_GROUPS):
        members = np.flatnonzero(dataset.labels == small.label)
        if small.n_groups == small.n_images:
            continue  # few images, and none of them a copy
        groups[members] = groups.max() + 1 + np.arange(len(members))
        n = small.n_groups
        warnings.append(
            f"The {small.n_images} images of {dataset.classes[small.label]!r} show only {n} "
            f"thing{'s' if n > 1 else ''} ({small.largest} of them one and the same), too few to keep apart. "
            "Its accuracy is that of recognising these again, and says nothing of others: add images of "
            "other objects."
        )
    return groups, warnings


def _joined(dataset: Dataset, groups: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """Join the groups of copies with the data set's own; None where every image stands for itself."""
    if dataset.groups is None:
        alone = len(np.unique(groups)) == len(groups)
        return None if alone else np.array([str(group) for group in groups.tolist()])
    together = Components(len(dataset))
    for several in (groups, np.unique(dataset.groups, return_inverse=True)[1]):
        first: dict[int, int] = {}
        for i, group in enumerate(several.tolist()):
            together.connect(first.setdefault(group, i), i)
    names: Sequence[str] = dataset.groups.tolist()
    labels = together.labels()
    first_of = {int(label): names[i] for i, label in reversed(list(enumerate(labels.tolist())))}
    return np.array([first_of[int(label)] for label in labels])


def _notices(dataset: Dataset, copies: Copies, mode: str) -> list[Notice]:
    names, sizes = dataset.names, np.bincount(copies.groups)
    order = [i for i in np.argsort(-sizes[copies.groups], kind="stable") if sizes[copies.groups[i]] > 1]
    kept = "" if mode == "ignore" else "They are kept together in every split and fold."
    found = [
        Notice.about(
            "copies",
            [names[i] for i in order],
            "image is a copy",
            f"images are copies or further images of one thing, in {copies.n_groups:,} groups",
            kept,
        )
    ]
    conflicts = label_conflicts(copies.pairs, dataset.labels)
    exact = sum(pair.kind != "scene" for pair in conflicts)
    if conflicts:
        then = (
            f"In {exact} of them the images are equal, so one label is wrong."
            if exact
            else "Check their labels."
        )
        one, many = "pair of copies has different labels", "pairs of copies have different labels"
        pairs = [f"{names[p.a]} = {names[p.b]}" for p in conflicts]
        found.append(Notice.about("label conflict", pairs, one, many, then))
    return found
