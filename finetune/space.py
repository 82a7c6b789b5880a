"""Ranges that a search draws from: data, declared beside the options that they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["LogUniform", "OneOf", "Parameter", "Space"]


@dataclass(frozen=True)
class LogUniform:
    """A number of which the order of magnitude matters: 10 to the power of a uniform draw.

    Attributes
    ----------
    low, high : float
        Both above 0.
    integer : bool
        Whether it is a whole number.
    optional : bool
        Whether it is searched only where the user names it.
    """

    low: float
    high: float
    integer: bool = False
    optional: bool = False

    def rounded(self, value: float) -> float | int:
        """Return a value with two digits, so that it reads the same wherever it is printed."""
        return round(value) if self.integer else float(f"{value:.2g}")

    def position(self, value: float) -> float:
        """Return where in the range a value lies on a logarithmic scale: 0 at `low`, 1 at `high`."""
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class OneOf:
    """One of some values.

    Attributes
    ----------
    values : tuple
        Numbers or words.
    optional : bool
        Whether it is searched only where the user names it.
    """

    values: tuple[Any, ...]
    optional: bool = False

    def rounded(self, value: Any) -> Any:
        """Return the value as it is."""
        return value


Parameter = LogUniform | OneOf
Space = dict[str, Parameter]
