"""Where class names come from, and which ones mean the same although they are written differently."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from finetune.data.notices import Notice
from zoo.errors import DataError

__all__ = [
    "LABELS",
    "Labels",
    "alike",
    "differing",
    "match_classes",
    "missing",
    "plain_name",
    "similar_classes",
]

#: Which folder names an image's class: the first, the last, or all of them.
Labels = Literal["top", "leaf", "path"]
LABELS: tuple[str, ...] = get_args(Labels)


def plain_name(name: str) -> str:
    """Return a class name without what is only a matter of writing: case, blanks and Unicode form.

    >>> plain_name(" Crème  Brûlée") == plain_name("cre\\u0300me brûlée")
    True
    """
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


#: Letters of other scripts by the Latin ones that they look like: from Unicode's table of confusable
#: characters (https://www.unicode.org/Public/security/latest/confusables.txt), those that keyboards have.
_LOOKS_LIKE = str.maketrans("авеікмнорсѕтухјһԁԛԝαικνορτυχ", "abeikmhopcstyxjhdqwaikvoptux")


def similar_classes(classes: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that a person would read as the same.

    They differ in case, blanks, Unicode form, or in letters of another script that look alike.

    >>> similar_classes(["cat", "Cat ", "dog", "d\u043eg", "bird"])
    [('cat', 'Cat '), ('dog', 'd\u043eg')]
    """
    alike: dict[str, list[str]] = {}
    for name in classes:
        look = plain_name(unicodedata.normalize("NFKC", name)).translate(_LOOKS_LIKE)
        # Without what has no width, such as a soft hyphen or a mark of the direction.
        look = "".join(c for c in look if unicodedata.category(c) != "Cf")
        alike.setdefault(look, []).append(name)
    return [tuple(names) for names in alike.values() if len(names) > 1]


def alike(classes: Iterable[str]) -> list[Notice]:
    """Report classes whose names a person would read as the same."""
    pairs = [" and ".join(map(repr, names)) for names in similar_classes(classes)]
    if not pairs:
        return []
    return [
        Notice.about(
            "similar class names",
            pairs,
            "group of class names looks alike",
            "groups of class names look alike",
            "They are kept apart: merge them if they are one class.",
        )
    ]


def match_classes(classes: Sequence[str], held_out: Iterable[str], where: str) -> dict[str, str]:
    """Find the class of training that each name of the held-out split means.

    Parameters
    ----------
    classes : sequence of str
        The training split's.
    held_out : iterable of str
        The names in the held-out split, or in another part of training.
    where : str
        The data set, for the error.

    Returns
    -------
    dict of str to str
        From each name to one of `classes`.

    Raises
    ------
    DataError
        If a name is none of them, or could be several.
    """
    by_plain: dict[str, list[str]] = {}
    for name in classes:
        by_plain.setdefault(plain_name(name), []).append(name)
    matched, unknown = {}, []
    for name in held_out:
        similar = [name] if name in classes else by_plain.get(plain_name(name), [])
        if len(similar) == 1:
            matched[name] = similar[0]
        else:
            unknown.append(name)
    if unknown:
        raise _unknown(where, unknown, by_plain)
    return matched


def differing(matched: dict[str, str]) -> list[Notice]:
    """Report which names were matched although they are written differently."""
    found = [f"{name!r} with {known!r}" for name, known in matched.items() if name != known]
    if not found:
        return []
    return [
        Notice.about(
            "class names",
            found,
            "class name of the held-out split is written differently and was matched",
            "class names of the held-out split are written differently and were matched",
        )
    ]


def missing(classes: Sequence[str], held_out: Iterable[str]) -> list[Notice]:
    """Report which classes the held-out split has no images of."""
    absent = sorted(set(classes) - set(held_out), key=list(classes).index)
    if not absent:
        return []
    return [
        Notice.about(
            "missing classes",
            absent,
            "class has no held-out images",
            "classes have no held-out images",
            "The held-out accuracy does not cover "
            f"{'it' if len(absent) == 1 else 'them'}: add images to the held-out split.",
        )
    ]


def _unknown(where: str, unknown: Sequence[str], by_plain: dict[str, list[str]]) -> DataError:
    """The error for held-out classes that are not trained on, with the names that may have been meant."""
    guesses = []
    for name in unknown:
        near = difflib.get_close_matches(plain_name(name), by_plain, n=1)
        guesses.append(f"{name!r} (is it train's {by_plain[near[0]][0]!r}?)" if near else repr(name))
    return DataError(
        f"The held-out split of {where} has classes that the training split lacks: {', '.join(guesses)}.",
        "Rename them to match, add training images for them, or take them out.",
    )
