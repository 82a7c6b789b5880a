"""What is in the data folder, with pictures: for the report of a run and for that of the checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune.data.notices import Notice
from finetune.report.thumbnails import find_image, image_root, thumbnail

__all__ = ["Example", "Finding", "findings"]

#: Thumbnails of one notice, and on the whole page: each takes some milliseconds and kilobytes.
MOST, MOST_IN_ALL = 6, 30


@dataclass(frozen=True)
class Example:
    """An image and its thumbnail as a ``data:`` address."""

    name: str
    thumbnail: str

    @property
    def short_name(self) -> str:
        """The file's name and that of its folder."""
        return "/".join(Path(self.name).parts[-2:])


@dataclass(frozen=True)
class Finding:
    """A notice and its examples, as far as they are images that are still there."""

    kind: str
    message: str
    examples: list[Example]


def findings(notices: Iterable[Notice], data: Path) -> list[Finding]:
    """Show what the notices are about.

    Parameters
    ----------
    notices : iterable of Notice
        In the order wanted.
    data : Path
        The data folder or table.

    Returns
    -------
    list of Finding
        One a notice.
    """
    found, left = [], MOST_IN_ALL
    for notice in notices:
        examples = _examples(notice, data, min(MOST, left))
        left -= len(examples)
        found.append(Finding(notice.kind, notice.message, examples))
    return found


def _examples(notice: Notice, data: Path, most: int) -> list[Example]:
    names = [
        name
        for example in notice.examples
        for name in (example.split(" = ") if notice.kind == "label conflict" else [example])
    ]
    examples: list[Example] = []
    root = image_root(data)
    for name in names[:most]:
        path = find_image(name, root)
        picture = None if path is None else thumbnail(path)
        if picture is not None:
            examples.append(Example(name, picture))
    return examples
