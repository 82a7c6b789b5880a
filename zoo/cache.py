"""Where the project keeps what it need not fetch or compute twice."""

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(*parts: str) -> Path:
    """Return (and create) a folder below the user's cache folder.

    The root is ``$ZOO_CACHE`` where that is set, else the operating system's own place for caches
    (on Linux ``~/.cache/finetune-zoo``).

    Parameters
    ----------
    *parts : str
        Names of nested folders below the root.

    Returns
    -------
    Path
        An existing folder.
    """
    root = os.environ.get("ZOO_CACHE")
    if root:
        base = Path(root).expanduser()
    else:
        import platformdirs

        base = Path(platformdirs.user_cache_dir("finetune-zoo", appauthor=False))
    folder = base.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
