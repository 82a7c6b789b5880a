"""The epochs of a training for TensorBoard."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["tensorboard"]


def tensorboard(folder: str | None) -> Callable[[str, dict[str, Any]], None]:
    """Return a function that is given the name of a training and an epoch's line of the log.

    Parameters
    ----------
    folder : str or None
        Where TensorBoard looks; None writes nothing.
    """
    if folder is None:
        return lambda name, line: None
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, Any] = {}

    def write(name: str, line: dict[str, Any]) -> None:
        if name not in writers:
            writers[name] = SummaryWriter(str(Path(folder) / name.replace(" ", "-")))
        for key, value in line.items():
            if key != "epoch" and isinstance(value, int | float) and math.isfinite(value):
                writers[name].add_scalar(key, value, line["epoch"])
        writers[name].flush()

    return write
