"""Several processes, or GPUs, that train one network together.

``accelerate launch -m finetune ...`` (or torchrun) starts them; accelerate joins them. Started in the plain
way there is one, and accelerate is not needed. torch is imported only where it is used, for the command line
asks for :func:`rank_and_size` before anything else.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from finetune.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Team", "rank_and_size"]


def rank_and_size() -> tuple[int, int]:
    """Return which process of a team this is, and how many there are; (0, 1) without a team.

    Launchers set the environment variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Some of them
    alone are left over from something else, and make no team.

    Raises
    ------
    TrainingError
        If the variables contradict each other.
    """
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    if size in (None, 1) and rank in (None, 0):
        return 0, 1
    lacking = [
        name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)
    ]
    if lacking:
        problem = f"this process is one of several (RANK or WORLD_SIZE is set) without {', '.join(lacking)}"
    elif rank is None or size is None or not 0 <= rank < size:
        problem = f"RANK={rank} is not within WORLD_SIZE={size}"
    else:
        return rank, size
    raise TrainingError(
        f"The environment variables of a launcher are incomplete: {problem}.",
        "Start several processes with accelerate launch or torchrun; "
        "for a single one, unset RANK and WORLD_SIZE.",
    )


def _number(name: str) -> int | None:
    value = os.environ.get(name, "")
    try:
        return int(value) if value else None
    except ValueError:
        raise TrainingError(
            f"The environment variable {name} is {value!r}, which is not a number.",
            f"Unset {name}, or start several processes with accelerate launch or torchrun.",
        ) from None


class Team:
    """The processes that train together.

    Attributes
    ----------
    size : int
        How many there are.
    rank : int
        Which of them this is; the first, 0, writes all files.
    device : torch.device
        What this one computes on.

    Raises
    ------
    TrainingError
        As by :func:`rank_and_size`, or if accelerate is needed and not installed.
    """

    def __init__(self) -> None:
        import torch

        self._accelerator: Any = None
        self.rank, self.size = rank_and_size()
        if self.size > 1:
            self._accelerator = _accelerator()
            self.device = self._accelerator.device
        else:
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over all processes."""
        return self._accelerator.prepare(module) if self._accelerator else module

    def without_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within, gradients stay with their process, and are averaged along with later ones."""
        return self._accelerator.no_sync(module) if self._accelerator else nullcontext()

    def share(self, rows: Any) -> Any:
        """Return this process's share of a batch."""
        return rows[self.rank :: self.size]

    def sum(self, *values: float) -> list[float]:
        """Add numbers up over all processes."""
        if self._accelerator is None:
            return list(values)
        import torch

        added = self._accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        return [float(v) for v in added]

    def leader_first(self) -> AbstractContextManager[None]:
        """Within, the first process runs alone; the others follow, and find its results in the store."""
        return self._accelerator.main_process_first() if self._accelerator else nullcontext()

    def same(self, value: str) -> str:
        """Return the first process's value to all."""
        if self._accelerator is None:
            return value
        from accelerate.utils import broadcast_object_list

        return str(broadcast_object_list([value])[0])


def _accelerator() -> Any:
    from datetime import timedelta

    import torch

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
