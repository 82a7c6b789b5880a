"""Keeps memory that torch frees, instead of handing it back to the operating system after each layer.

A batch's activations are tens of megabytes. The GNU C library maps such blocks anew for each layer and
unmaps them after it, and the kernel fills every page of them with zeros first: for a light network on a
CPU, more than half of all time. With one heap that grows and stays, a page is filled once.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_kept"]

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4

_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# What cannot be read cannot be restored. These are the values that glibc's own adjustment arrives at once a
# block of 32 MiB or more was freed (mallopt(3)), as in nearly every process that computes with arrays.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}

_lock = threading.Lock()
_blocks = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let this process keep freed memory for its next use, within the block; may be nested.

    Does nothing where the C library is not the GNU one.
    """
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(change: int) -> None:
    global _blocks
    with _lock:
        before, _blocks = _blocks, _blocks + change
        if (before == 0) != (_blocks == 0):
            _set(_KEEP if _blocks else _USUAL)


def _set(options: dict[int, int]) -> None:
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if hasattr(library, "mallopt"):
        for option, value in options.items():
            library.mallopt(option, value)  # type: ignore[union-attr]
