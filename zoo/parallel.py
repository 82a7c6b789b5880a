"""Work in threads: in order, with bounded memory, and stopped at once on an interrupt."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order", "threads"]

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], ahead: int) -> Generator[R, None, None]:
    """Map in threads, in order, with never more than `ahead` results waiting to be taken.

    To skip the rest, close the iterator (`contextlib.closing`): what has not begun then never
    begins.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads())
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def threads() -> int:
    """Threads for decoding: as many as there are cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
