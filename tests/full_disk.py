"""A disk on which some writing fails, in this process."""

import errno
import os
import sys
from contextlib import contextmanager

__all__ = ["DISK"]


class Disk:
    """Sees each file that Python opens for writing, each folder and each renaming, and can refuse one.

    An audit hook cannot be removed, so there is one for all tests, which does nothing unless it is asked.

    Attributes
    ----------
    written : list of str
        The paths, in their order.
    """

    def __init__(self):
        self.written = []
        self._below = self._fails_at = None
        sys.addaudithook(self._hook)

    @contextmanager
    def watched(self, below, fails_at=None):
        """Watch a folder, and let its n-th writing fail, counted from 1, for want of space."""
        self.written = []
        self._below, self._fails_at = str(below), fails_at
        try:
            yield
        finally:
            self._below = None

    def _hook(self, event, arguments):
        if self._below is None:
            return
        if event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path = arguments[0] if arguments else None
            writes = event in ("os.mkdir", "os.rename", "os.truncate", "os.link", "os.symlink")
        if writes and isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self._below):
            self.written.append(os.fspath(path))
            if len(self.written) == self._fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


DISK = Disk()
