"""Names that users chose, in Markdown."""

import re

__all__ = ["escape"]

#: What CommonMark and GitHub's tables and strikethroughs give a meaning to, outside of a line's beginning.
_MARKS = re.compile(r"[\\`*_\[\]|~$!]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line, in a table's cell too.

    Code between backticks stays code, for there nothing has a meaning but a table's bar.

    Parameters
    ----------
    text : str
        A class name, a path, or a sentence of ours in which some stand.

    Examples
    --------
    >>> escape("run `finetune check` on a|b [x](y) <img src=z>")
    'run `finetune check` on a\\\\|b \\\\[x\\\\](y) &lt;img src=z&gt;'
    """
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(piece.replace("|", "\\|") if i % 2 else _plain(piece) for i, piece in enumerate(pieces))


def _plain(text: str) -> str:
    marked = _MARKS.sub(r"\\\g<0>", text)
    marked = re.sub("[&<>]", lambda found: _HTML[found[0]], marked)
    return re.sub(r"^[#+=-]", r"\\\g<0>", marked)  # a heading, a list, a rule
