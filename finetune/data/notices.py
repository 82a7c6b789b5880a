"""What a user should know about a folder of images, one line each."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MAX_EXAMPLES", "Notice"]

#: Examples that a notice names.
MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Notice:
    """Something found in the data that is no error.

    Attributes
    ----------
    kind : str
        What it is about, in one or two words: ``masks``, ``dark``, ``nested folders``, …
    count : int
        How many files, folders or classes it is about.
    examples : tuple of str
        At most :data:`MAX_EXAMPLES` of them, the most extreme first; files as in `Dataset.names`.
    message : str
        One sentence for the screen.
    """

    kind: str
    count: int
    examples: tuple[str, ...]
    message: str

    @classmethod
    def about(cls, kind: str, names: Sequence[str], one: str, many: str, then: str = "") -> "Notice":
        """Make a notice about some files, folders or classes.

        Parameters
        ----------
        kind : str
            As in the attribute.
        names : sequence of str
            All of them, the most extreme first.
        one, many : str
            The text for a single one and, after the number, of several.
        then : str, optional
            Another sentence, on what this means or what to do.

        Examples
        --------
        >>> Notice.about("dark", ["a.jpg", "b.jpg"], "image is very dark", "images are very dark").message
        '2 images are very dark (a.jpg, b.jpg).'
        """
        shown = ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
        count = f"{len(names)} {one if len(names) == 1 else many} ({shown})."
        return cls(kind, len(names), tuple(names[:MAX_EXAMPLES]), f"{count} {then}".strip())
