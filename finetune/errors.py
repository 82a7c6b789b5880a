"""What can go wrong for a user of ``finetune`` beyond what ``zoo`` already names."""

from zoo.errors import ZooError

__all__ = ["OptionError", "RunError", "TrainingError"]


class RunError(ZooError):
    """A run folder that is missing, damaged, foreign, or cannot be written."""


class OptionError(ZooError):
    """An option that does not exist or has a value out of its range."""


class TrainingError(ZooError):
    """A training that cannot go on, or a network that cannot be trained as requested."""
