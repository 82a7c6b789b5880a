"""What is searched: parameters and their ranges."""

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["OneOf", "Parameter", "Real", "Space"]


@dataclass(frozen=True)
class Real:
    """A number of which the order of magnitude matters: it is drawn log-uniformly.

    Attributes
    ----------
    low, high : float
        The range that the search begins with.
    least, most : float
        Bounds that it is never widened beyond.
    whole : bool
        Whether it is a whole number.
    """

    low: float
    high: float
    least: float
    most: float
    whole: bool = False

    def value(self, place: float) -> float | int:
        """Return the number at a place, a decimal logarithm, to two digits: no more of them matter."""
        number = min(max(10**place, self.least), self.most)
        return round(number) if self.whole else float(f"{number:.2g}")


@dataclass(frozen=True)
class OneOf:
    """One of some values.

    Attributes
    ----------
    values : tuple
    """

    values: tuple[Any, ...]


Parameter = Real | OneOf
Space = dict[str, Parameter]


def place(value: float) -> float:
    """Return where a number stands: its decimal logarithm."""
    return math.log10(value)
