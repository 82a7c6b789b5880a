"""Errors that a user can fix, each with the next step.

The constructor takes both halves of a useful message: what happened, and what to do about it. The command
line prints them and exits with code 2; a traceback appears only with ``--debug``.
"""

__all__ = ["DataError", "ImageError", "RegistryError", "UnknownModelError", "WeightsError", "ZooError"]


class ZooError(Exception):
    """A problem that the user can fix.

    Parameters
    ----------
    problem : str
        What happened, in one sentence, naming the file, name or value at fault.
    next_step : str
        What to do about it, in one sentence.
    """

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem, next_step)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem} {self.next_step}"


class RegistryError(ZooError):
    """A registry file that cannot be read or has faulty entries."""


class UnknownModelError(ZooError):
    """A name that is neither in the registry nor one of timm's."""


class WeightsError(ZooError):
    """Weights that are unavailable, or not the ones they should be."""


class ImageError(ZooError):
    """A file that is not a readable image."""


class DataError(ZooError):
    """A folder or table of images that cannot be used as it is."""
