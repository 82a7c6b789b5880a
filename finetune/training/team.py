"""Several processes, or GPUs, that train one network together.

``accelerate launch -m finetune ...`` (or torchrun) starts them; accelerate joins them. Started in the plain
way there is one, and accelerate is not needed.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from finetune.errors import TrainingError

__all__ = ["Team"]


class Team:
    """The processes that train together.

    Attributes
    ----------
    size : int
        How many there are.
    rank : int
        Which of them this is; the first, 0, writes what is written.
    device : torch.device
        What this one computes on.
    """

    def __init__(self) -> None:
        self._accelerator: Any = None
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if self.size > 1:
            self._accelerator = _accelerator()
            self.device = self._accelerator.device
        else:
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module that puts the gradients of all processes together."""
        return self._accelerator.prepare(module) if self._accelerator else module

    def apart(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within, gradients stay with their process, to be put together with a later one's."""
        return self._accelerator.no_sync(module) if self._accelerator else nullcontext()

    def share(self, rows: Any) -> Any:
        """Return this process's share of a batch."""
        return rows[self.rank :: self.size]

    def sum(self, *values: float) -> list[float]:
        """Add numbers up over all processes."""
        if self._accelerator is None:
            return list(values)
        added = self._accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        return [float(v) for v in added]

    def leader_first(self) -> AbstractContextManager[None]:
        """Within, the first process runs alone; the others follow, and find what it kept in the store."""
        return self._accelerator.main_process_first() if self._accelerator else nullcontext()

    def same(self, value: str) -> str:
        """Return the first process's value to all."""
        if self._accelerator is None:
            return value
        from accelerate.utils import broadcast_object_list

        return str(broadcast_object_list([value])[0])


def _accelerator() -> Any:
    from datetime import timedelta

    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError as error:
        raise TrainingError(
            "Several processes train together through accelerate, which is not installed.",
            "Install it with: pip install accelerate, or start one process.",
        ) from error
    # Others wait while the first computes features, which may take long.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])
