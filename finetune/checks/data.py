"""Is the data what it should be: sizes of the classes and of the images, files, names."""

import os
from pathlib import Path

import numpy as np

from finetune.checks.contract import Finding, Subject

__all__ = ["check"]

#: The largest class may be this many times the smallest before it is worth weighting them.
IMBALANCE = 5.0

#: With fewer training images in a class than this, a fold judges it by one or two images.
TINY = 10

#: An image whose shorter side is below this share of what the network takes is blown up to mush.
FAR_BELOW = 0.5

#: Share of images that may be so small before it is said.
FEW = 0.05


def check(subject: Subject) -> list[Finding]:
    """Look at counts, files, sizes and names.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``class sizes``, ``smallest class``, ``files``, ``image sizes``, ``class names``, ``class sets``.
    """
    return [
        _balance(subject),
        _smallest(subject),
        _files(subject),
        _sizes(subject),
        _names(subject),
        _sets(subject),
    ]


def _balance(subject: Subject) -> Finding:
    counts = subject.dataset.counts
    ratio = max(counts.values()) / min(counts.values())
    largest, smallest = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
    uneven = ratio > IMBALANCE
    return Finding(
        check="data",
        name="class sizes",
        status="warn" if uneven else "pass",
        value=ratio,
        threshold=f"largest / smallest at most {IMBALANCE:g}",
        meaning=f"{largest!r} has {counts[largest]} images, {smallest!r} has {counts[smallest]}.",
        todo="Look at balanced accuracy, and try --class-weight balanced." if uneven else "",
        details=[{"class": name, "images": n} for name, n in counts.items()],
    )


def _smallest(subject: Subject) -> Finding:
    classes = subject.dataset.classes
    counts = np.bincount(subject.task.train.labels, minlength=len(classes))
    tiny = [f"{classes[i]!r} ({counts[i]})" for i in np.flatnonzero(counts < TINY)]
    return Finding(
        check="data",
        name="smallest class",
        status="warn" if tiny else "pass",
        value=int(counts.min()),
        threshold=f"at least {TINY} training images",
        meaning=f"Few training images in {_some(tiny)}."
        if tiny
        else "Every class has enough to be judged by.",
        todo="Add images to these classes; until then trust their recall least." if tiny else "",
    )


def _files(subject: Subject) -> Finding:
    root = Path(subject.dataset.root)
    files = subject.dataset.skipped
    listed = [f"{os.path.relpath(f.path, root)} ({f.reason})" for f in files]
    return Finding(
        check="data",
        name="files",
        status="warn" if files else "pass",
        value=len(files),
        threshold="no unreadable files",
        meaning=f"Left out: {_some(listed)}." if files else "Every file is a readable image.",
        todo="Copy them anew from where they came, or remove them." if files else "",
        details=[{"path": os.fspath(f.path), "reason": f.reason} for f in files],
    )


def _sizes(subject: Subject) -> Finding:
    """Compare images with the network's input; both by the shorter side, which is what is scaled."""
    wanted = min(subject.backbone.preprocess.input_size)
    shorter = subject.sizes.min(axis=1)
    small = np.flatnonzero(shorter < FAR_BELOW * wanted)
    share = len(small) / len(shorter)
    return Finding(
        check="data",
        name="image sizes",
        status="warn" if share > FEW else "pass",
        value=float(np.median(shorter)),
        threshold=f"shorter side at least {FAR_BELOW * wanted:g} pixels in {1 - FEW:.0%} of the images",
        meaning=f"The median shorter side is {np.median(shorter):g} pixels, the network takes {wanted}; "
        f"{share:.0%} of the images are less than half of that.",
        todo="Get the images in a higher resolution, or choose a network with a smaller input."
        if share > FEW
        else "",
        details=[{"path": subject.dataset.names[i], "shorter_side": float(shorter[i])} for i in small[:20]],
    )


def _names(subject: Subject) -> Finding:
    """Find classes that a person would call the same."""
    alike: dict[str, list[str]] = {}
    for name in subject.dataset.classes:
        alike.setdefault("".join(name.split()).casefold(), []).append(name)
    twins = [names for names in alike.values() if len(names) > 1]
    listed = [" and ".join(map(repr, names)) for names in twins]
    return Finding(
        check="data",
        name="class names",
        status="fail" if twins else "pass",
        value=len(twins),
        threshold="no two that differ by case or blanks only",
        meaning=f"Differ by case or blanks only: {_some(listed)}." if twins else "All are distinct.",
        todo="Merge them if they are one class; otherwise give them names that differ." if twins else "",
    )


def _sets(subject: Subject) -> Finding:
    """Find classes that are trained but never tested; the opposite is refused when the data is read."""
    dataset = subject.dataset
    held_out = set(dataset.labels[subject.split.test].tolist())
    missing = [repr(name) for i, name in enumerate(dataset.classes) if i not in held_out]
    return Finding(
        check="data",
        name="class sets",
        status="warn" if missing else "pass",
        value=len(missing),
        threshold="every class has held-out images",
        meaning=f"No held-out image of {_some(missing)}." if missing else "Both parts have the same classes.",
        todo="Hold out images of these classes too: the accuracy says nothing of them." if missing else "",
    )


def _some(items: list[str], most: int = 3) -> str:
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
