"""From an entry to weights on this machine: found, verified, and written in timm's own layout.

`ready` is what the rest of the project calls. The first call for some weights finds the file, checks
its SHA-256, and writes a folder that timm can load; every later call finds that folder in
milliseconds, without torch or timm.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.cache.folders import cache_errors, cache_folder, locked
from zoo.registry.entry import Entry, HubSource, PathSource
from zoo.weights.locate import PullOptions, WeightsFile, intact, locate, read_config
from zoo.writing import atomic_folder

__all__ = ["ReadyModel", "ready"]


@dataclass(frozen=True)
class ReadyModel:
    """A folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads.

    `config` is what its ``config.json`` says, `sha256` the digest of the weights file it was made from.
    """

    folder: Path
    config: dict[str, Any]
    sha256: str


def ready(entry: Entry, options: PullOptions | None = None) -> ReadyModel:
    """Return an entry's pretrained network as a folder in timm's layout.

    The folder is made once for each digest, and made again if it has changed since. What a file or branch of
    the Hub was at the first call is pinned in ``zoo.lock`` and not requested again: the same name gives the
    same bytes.

    Parameters
    ----------
    entry : Entry
        Which network.
    options : PullOptions, optional
        How it is looked for.

    Returns
    -------
    ReadyModel
        The folder and what it holds.

    Raises
    ------
    WeightsError
        If no source has the weights, or they are not what they should be.
    CacheError
        If the cache or the lock cannot be written.
    """
    options = options or PullOptions()
    weights = locate(entry, options)
    folder = weights.path if weights.path.is_dir() else cache_folder("models") / weights.made_name
    if folder != weights.path and not (folder.is_dir() and intact(folder)):
        _make(folder, weights, entry)
    # Only now: what proved to be no network must not be pinned.
    if isinstance(weights.source, HubSource) and weights.pin is not None:
        options.lock.add(weights.source.repo, weights.source.revision, weights.pin)
    config = read_config(folder)
    if not isinstance(weights.source, PathSource) or folder != weights.path:
        # Two names may share a folder of the cache; each caller reads the name that was asked for.
        config = {**config, "entry": entry.name}
    return ReadyModel(folder, config, weights.sha256)


def _make(folder: Path, weights: WeightsFile, entry: Entry) -> None:
    """Write the folder, whole or not at all, in the place of one that is damaged."""
    from zoo.weights.convert import write_model_folder

    notes = {"entry": entry.name, "source": str(weights.source), "weights_sha256": weights.sha256}
    if entry.licence:
        notes["licence"] = entry.licence
    keymap = None if isinstance(weights.source, HubSource) else weights.source.keymap
    with locked(folder):
        if folder.is_dir() and intact(folder):  # Another process has made it meanwhile.
            return
        with cache_errors(folder), atomic_folder(folder, replace=True) as made:
            write_model_folder(
                made,
                weights.path,
                weights.architecture,
                keymap=keymap,
                config=weights.config,
                notes=notes,
            )
