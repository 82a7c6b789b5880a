"""Epochs' lines for TensorBoard, for those who watch a training there."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune.errors import OptionError

__all__ = ["board", "check_board"]


def check_board(folder: str | None) -> None:
    """Make sure that TensorBoard is installed where a folder for it is named.

    Raises
    ------
    OptionError
        If it is not.
    """
    if folder is not None and not find_spec("tensorboard"):
        raise OptionError(
            "TensorBoard is not installed.",
            'Install it with: pip install "finetune-zoo[tensorboard]", or leave out --tensorboard.',
        )


def board(folder: str | None) -> Callable[[str, dict[str, Any]], None]:
    """Return what takes the name of a training and an epoch's line.

    Parameters
    ----------
    folder : str or None
        Where TensorBoard looks; None for nowhere.
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
