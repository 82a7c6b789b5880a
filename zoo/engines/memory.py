"""Keeps memory that torch frees, instead of handing it back to the operating system each time.

A batch's activations are tens of megabytes. The GNU C library maps such blocks anew for each layer and
unmaps them after it, and the kernel fills every page of them with zeros first: for a light network on a
CPU, more than half of all time. With one heap that grows and stays, a page is filled once.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next use; its size stays at its peak.

    Returns
    -------
    bool
        Whether the C library can be told so: the GNU one can.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    largest = 2**31 - 1
    told = (library.mallopt(_MMAP_MAX, 0), library.mallopt(_TRIM_THRESHOLD, largest))
    return all(told)
