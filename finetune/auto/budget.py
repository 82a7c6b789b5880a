"""The time that there is, and how long what remains would take."""

import time

from finetune.errors import OptionError

__all__ = ["Budget", "check_minutes", "duration"]

#: Seconds kept for evaluating the winner, and for writing the run with its report.
RESERVE = 5.0


def check_minutes(minutes: float) -> None:
    """Raise OptionError unless there is a time to spend."""
    if not 0 < minutes < float("inf"):
        raise OptionError(f"--minutes is {minutes:g}, which is no time.", "Give a number above 0, such as 5.")


class Budget:
    """Minutes that began when this was made, or before.

    Parameters
    ----------
    minutes : float
        In all.
    spent : float, optional
        Seconds that an interrupted process has used of them.
    """

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self._seconds = 60 * minutes
        self._start = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds used."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that candidates may still use; the end of the run has its own."""
        return self._seconds - self.spent - RESERVE

    def __str__(self) -> str:
        return f"{_clock(self.spent)} of {_clock(self._seconds)}"


def duration(seconds: float) -> str:
    """Return a number of seconds in words: ``40 s``, ``3 min``."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
