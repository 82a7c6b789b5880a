"""How much memory may be used to keep what would otherwise be computed or read again."""

import os

__all__ = ["spare_memory"]


def spare_memory() -> int:
    """Return a third of the memory that is free, in bytes; where that cannot be known, 1 GB."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 10**9
    return free // 3
