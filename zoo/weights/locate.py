"""From an entry to a verified weights file: the first of its sources that has it.

What comes from the Hub is checked against ``zoo.lock``: the first pull pins the commit and the contents, and
later ones get the same.
"""

import hashlib
import importlib.metadata
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.cache.folders import cache_folder
from zoo.errors import WeightsError
from zoo.reading import read_json
from zoo.registry.entry import Entry, HubSource, PackageSource, PathSource, Source
from zoo.weights.digests import remembered_sha256, sha256_of
from zoo.weights.hub import HubFile, Unavailable, fetch, is_commit
from zoo.weights.lock import Lock, Pin

__all__ = [
    "CONFIG",
    "SAFE_VARIABLE",
    "WEIGHTS",
    "PullOptions",
    "WeightsFile",
    "available",
    "intact",
    "locate",
    "package_file",
    "read_config",
]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

#: Environment variable that turns `PullOptions.safe` on for every command.
SAFE_VARIABLE = "ZOO_SAFE"

_FROM_HUB = "hf-hub:"


@dataclass(frozen=True)
class PullOptions:
    """How weights are looked for.

    Attributes
    ----------
    offline : bool
        Never use the network.
    update : bool
        Take what a branch of the Hub is now, and pin that, instead of what is pinned.
    safe : bool
        Open no pickle unless the registry gives its SHA-256; by default if ``$ZOO_SAFE`` is 1.
    lock : Lock
        The pins; by default those of ``$ZOO_REGISTRY`` and the cache folder.
    """

    offline: bool = False
    update: bool = False
    safe: bool = field(default_factory=lambda: os.environ.get(SAFE_VARIABLE, "") not in ("", "0"))
    lock: Lock = field(default_factory=Lock)


@dataclass(frozen=True)
class WeightsFile:
    """A weights file (or a folder in timm's layout) that matches its source.

    `sha256` is that of the file, of a folder that of the file it was made from; `config` is the
    ``config.json`` beside it, where only that says what the network is. `pin` is what there is to pin, once
    the file has proved to hold a network.
    """

    path: Path
    sha256: str
    source: Source
    architecture: str
    config: Path | None = None
    pin: Pin | None = None

    @property
    def made_name(self) -> str:
        """Name of the folder of the cache that is made from it."""
        config = None if self.config is None else sha256_of(self.config)
        return f"{self.architecture}-{_key(self.sha256, config)}"


def locate(entry: Entry, options: PullOptions | None = None) -> WeightsFile:
    """Find and verify an entry's weights: from the first of its sources that has them.

    Raises
    ------
    WeightsError
        If a source has a file whose digest is wrong (no further source is tried then, because somebody
        should know), or if no source has one; the message gives the reason for each source.
    """
    options = options or PullOptions()
    failures: list[Unavailable] = []
    closed: set[str] = set()  # Repositories that did not answer, or not as they should.
    for source in entry.sources:
        if isinstance(source, HubSource) and (source.repo in closed or _unreachable(failures)):
            continue
        try:
            return _from_source(entry, source, options)
        except Unavailable as failure:
            failures.append(failure)
            # Only where the first file does not exist is another one, the pickle, the file that is meant.
            if isinstance(source, HubSource) and failure.lacking != "file":
                closed.add(source.repo)
    reasons = "; ".join(failure.reason for failure in failures)
    remedies = ", or ".join(dict.fromkeys(failure.remedy for failure in failures))
    raise WeightsError(f"The weights of {entry.name} are unavailable: {reasons}.", f"Next step: {remedies}.")


def available(entry: Entry, lock: Lock | None = None) -> bool:
    """Return whether one of an entry's sources is on this machine; its digest is not checked."""
    return any(_on_this_machine(entry, source, lock or Lock()) for source in entry.sources)


def intact(folder: Path) -> bool:
    """Return whether the weights in a folder that this project made are those that it wrote."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return bool(config["file_sha256"] == remembered_sha256(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_config(folder: Path) -> dict[str, Any]:
    """Return what the ``config.json`` of a folder says.

    Raises
    ------
    WeightsError
        If it is not a JSON object that names an architecture.
    """
    path = folder / CONFIG
    try:
        config: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as JSON ({error}).", "Remove it and run the same command again."
        ) from error
    architecture = config.get("architecture") if isinstance(config, dict) else None
    # The name becomes part of a folder's name.
    if not isinstance(architecture, str) or not re.fullmatch(r"\w[\w.-]{0,99}", architecture):
        raise WeightsError(
            f"{path} names no network of timm under `architecture`.",
            "Name a repository or folder that timm wrote.",
        )
    return config


def package_file(source: PackageSource) -> Path:
    """Return the file of an installed package; raises Unavailable if there is none."""
    remedy = f"`pip install {source.distribution}`"
    try:
        path = Path(str(importlib.metadata.distribution(source.distribution).locate_file(source.file)))
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable(f"the package {source.distribution} is not installed", remedy) from error
    if not path.is_file():
        raise Unavailable(f"the package {source.distribution} has no file {source.file}", f"{remedy} again")
    return path


def _unreachable(failures: list[Unavailable]) -> bool:
    return any(failure.lacking == "connection" for failure in failures)


def _from_source(entry: Entry, source: Source, options: PullOptions) -> WeightsFile:
    if isinstance(source, HubSource):
        return _from_hub(entry, source, options)
    if isinstance(source, PackageSource):
        path = package_file(source)
        # Not remembered: whoever replaces a package's file can also keep its date, and this takes 20 ms.
        sha256 = sha256_of(path)
        _check_digest(path, sha256, source.sha256)
        return WeightsFile(path, sha256, source, entry.architecture)
    return _from_path(entry, source, options)


def _from_path(entry: Entry, source: PathSource, options: PullOptions) -> WeightsFile:
    is_folder = source.file.is_dir()
    path = source.file / WEIGHTS if is_folder else source.file
    if not path.is_file():
        raise Unavailable(f"there is no file {path}", f"put the weights at {path}")
    _check_safe(str(path), path.name, source.sha256, options)
    sha256 = remembered_sha256(path)
    _check_digest(path, sha256, source.sha256)
    if not is_folder:
        return WeightsFile(path, sha256, source, entry.architecture)
    config = read_config(source.file)
    if "stages" in config:  # Written by this project, so nothing is lacking: it is used where it lies.
        return WeightsFile(source.file, sha256, source, entry.architecture)
    return WeightsFile(path, sha256, source, config["architecture"], config=source.file / CONFIG)


def _from_hub(entry: Entry, source: HubSource, options: PullOptions) -> WeightsFile:
    pin = None if options.update else options.lock.pin(source.repo, source.revision)
    made = pin and _made_before(entry, source, pin)
    if made:
        return made
    _check_safe(source.repo, source.file, source.sha256, options)
    config = None
    architecture = entry.architecture
    revision = source.revision if pin is None else pin.commit
    files: dict[str, str] = {}
    if architecture.startswith(_FROM_HUB):
        found = _fetch(source, CONFIG, revision, pin, options)
        # Both files are of one commit, even if the branch moves between the two.
        config, revision, files = found.path, found.commit, {CONFIG: found.sha256}
        architecture = read_config(config.parent)["architecture"]
    found = _fetch(source, source.file, revision, pin, options)
    _check_digest(found.path, found.sha256, source.sha256)
    fresh = Pin(commit=found.commit, files={**files, source.file: found.sha256})
    return WeightsFile(found.path, found.sha256, source, architecture, config, fresh)


def _fetch(source: HubSource, file: str, revision: str, pin: Pin | None, options: PullOptions) -> HubFile:
    try:
        found = fetch(
            source.repo,
            file,
            revision,
            offline=options.offline,
            update=options.update and not is_commit(revision),
        )
    except Unavailable as failure:
        if failure.lacking != "revision" or pin is None:
            raise
        raise Unavailable(
            f"{source.repo} no longer has the commit {pin.commit[:12]}, which "
            f"{options.lock.place(source.repo, source.revision)} pins",
            f"`zoo pull --update` with the same name takes what {source.revision} is now",
            lacking="revision",
        ) from failure
    pinned = None if pin is None else pin.files.get(file)
    if pinned is not None and pinned != found.sha256:
        raise WeightsError(
            f"{source.repo}@{source.revision}/{file} is not what was pinned: its SHA-256 is {found.sha256}, "
            f"in {options.lock.place(source.repo, source.revision)} it is {pinned}.",
            "If you trust what the Hub has now, `zoo pull --update` with the same name pins that.",
        )
    return found


def _made_before(entry: Entry, source: HubSource, pin: Pin) -> WeightsFile | None:
    """Return the intact folder that was made from what is pinned, if there is one."""
    from_hub = entry.architecture.startswith(_FROM_HUB)
    sha256, config = pin.files.get(source.file), pin.files.get(CONFIG)
    if sha256 is None or (from_hub and config is None) or source.sha256 not in (None, sha256):
        return None
    models = cache_folder("models")
    # Which network it is, only the configuration can tell, and the folder's name holds its digest.
    name = f"*-{_key(sha256, config)}" if from_hub else f"{entry.architecture}-{_key(sha256, None)}"
    for folder in sorted(models.glob(name)):
        if folder.is_dir() and intact(folder):
            return WeightsFile(folder, sha256, source, folder.name.rpartition("-")[0])
    return None


def _key(weights: str, config: str | None) -> str:
    """Return 16 digits for weights, and for the configuration where that says what the network is."""
    if config is None:
        return weights[:16]
    return hashlib.sha256(f"{weights} {config}".encode()).hexdigest()[:16]


def _check_safe(place: str, file: str, sha256: str | None, options: PullOptions) -> None:
    """Refuse a pickle that nobody vouches for, before it is downloaded."""
    if options.safe and sha256 is None and not file.endswith(".safetensors"):
        raise Unavailable(
            f"{place} has the weights as a pickle ({file}), which safe mode refuses",
            "name one that has model.safetensors, or give the file's sha256 in a registry of your own",
            lacking="file",
        )


def _check_digest(path: Path, measured: str, expected: str | None) -> None:
    if expected is not None and measured != expected:
        raise WeightsError(
            f"{path} is not the file that the registry describes: its SHA-256 is {measured}, not {expected}.",
            "If you trust the new file, put its digest into your own registry (--registry); "
            "otherwise remove the file or reinstall its package.",
        )


def _on_this_machine(entry: Entry, source: Source, lock: Lock) -> bool:
    if isinstance(source, PathSource):
        return source.file.exists()
    if isinstance(source, PackageSource):
        try:
            return package_file(source).is_file()
        except Unavailable:
            return False
    pin = lock.pin(source.repo, source.revision)
    if pin is not None and _made_before(entry, source, pin):
        return True
    from huggingface_hub import try_to_load_from_cache

    revision = source.revision if pin is None else pin.commit
    return isinstance(try_to_load_from_cache(source.repo, source.file, revision=revision), str)
