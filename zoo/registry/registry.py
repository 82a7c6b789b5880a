"""From a name to an `Entry`, which says what the network is and where its weights are.

``registry.yaml`` is checked when it is loaded, and one message names every fault with its line. Nothing here
imports torch; timm is imported only for names that no registry has.
"""

import difflib
import importlib.metadata
import importlib.resources
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from zoo.cache.notes import recall, remember
from zoo.errors import RegistryError, UnknownModelError
from zoo.reading import read_json
from zoo.registry.entry import Entry, HubSource, PathSource
from zoo.registry.file import read_entries

__all__ = ["DEFAULT_MODEL", "Registry", "load_registry", "resolve"]

#: The model a user gets who names none: its weights are delivered by pip, so it works without the Hub.
DEFAULT_MODEL = "efficientnet_lite0"


@dataclass(frozen=True)
class Registry:
    """Entries by name.

    Attributes
    ----------
    entries : tuple of Entry
        In the order of the files, which is the order in which families are shown.
    file : Path or None
        The user's own file among those that it was read from; ``zoo.lock`` lies beside it.
    """

    entries: tuple[Entry, ...]
    file: Path | None = None

    def names(self) -> tuple[str, ...]:
        """Return every name, in the order of `entries`."""
        return tuple(entry.name for entry in self.entries)

    def get(self, name: str) -> Entry:
        """Return the entry of that name.

        Raises
        ------
        UnknownModelError
            If there is none; the message lists the nearest names.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise _unknown(name, self.names())

    def overlaid(self, others: "Registry") -> "Registry":
        """Return both registries' entries; where a name is in both, the other's entry counts."""
        merged = {entry.name: entry for entry in self.entries} | {
            entry.name: entry for entry in others.entries
        }
        return Registry(tuple(merged.values()), others.file or self.file)


def load_registry(extra: Path | None = None) -> Registry:
    """Return our registry, overridden by the file ``$ZOO_REGISTRY`` names, then by `extra`, name by name.

    Raises
    ------
    RegistryError
        If a file cannot be read or has faults; every fault is named with its line.
    """
    registry = _read(_own_file())
    from_environment = os.environ.get("ZOO_REGISTRY")
    for path in (Path(from_environment) if from_environment else None, extra):
        if path is not None:
            path = path.expanduser()
            registry = registry.overlaid(Registry(_read(path).entries, path))
    return registry


def _own_file() -> Path:
    """Return our registry: inside the package when installed from a wheel, at the root in a checkout."""
    packaged = importlib.resources.files("zoo") / "registry.yaml"
    if packaged.is_file():
        return Path(str(packaged))
    return Path(__file__).parents[2] / "registry.yaml"


def _read(path: Path) -> Registry:
    # A run resolves several names; the time of modification lets an edited file be read anew.
    try:
        return _read_once(path.resolve(), path.stat().st_mtime_ns)
    except OSError as error:
        raise RegistryError(
            f"The registry {path} cannot be read ({error.strerror}).",
            "Check --registry and ZOO_REGISTRY, which name a YAML file.",
        ) from error


@lru_cache(maxsize=8)
def _read_once(path: Path, mtime_ns: int) -> Registry:
    return Registry(read_entries(path))


def resolve(name: str, registry: Registry | None = None) -> Entry:
    """Return the entry that a user's name for a model means.

    Parameters
    ----------
    name : str
        A name in the registry (``resnet50``), timm's (``resnet50.a1_in1k``), a Hub repository
        (``hf-hub:owner/repo@revision``), or a folder holding ``config.json`` and ``model.safetensors``
        (``local-dir:runs/ab/model`` or its bare path).
    registry : Registry, optional
        Where to look; by default what `load_registry` gives.

    Returns
    -------
    Entry
        The registry's, or one made up from what the name says.

    Raises
    ------
    UnknownModelError
        If the name means nothing; the message lists the nearest names.
    """
    if name.startswith("hf-hub:"):
        return _hub_entry(name)
    if name.startswith("local-dir:"):
        return _folder_entry(name, Path(name.removeprefix("local-dir:")))
    registry = load_registry() if registry is None else registry
    for entry in registry.entries:
        if name in (entry.name, entry.architecture):
            return entry
    if os.sep in name or "/" in name or Path(name, "config.json").is_file():
        return _folder_entry(name, Path(name))
    return _remembered_timm_entry(name, registry)


def _hub_entry(name: str) -> Entry:
    repo, _, revision = name.removeprefix("hf-hub:").partition("@")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UnknownModelError(
            f"{name!r} is not the name of a Hub repository.",
            "Write it as hf-hub:owner/repo or hf-hub:owner/repo@revision.",
        )
    try:
        return Entry(name=name, architecture=name, sources=_hub_files(repo, revision or "main"))
    except ValidationError as error:
        raise UnknownModelError(
            f"{name!r} is not the name of a Hub repository: {error.errors()[0]['msg']}.",
            "Write it as hf-hub:owner/repo or hf-hub:owner/repo@revision.",
        ) from error


def _hub_files(repo: str, revision: str) -> tuple[HubSource, HubSource]:
    # A repository of old may have only the pickle, which is then read with weights_only=True.
    return (
        HubSource(repo=repo, revision=revision, file="model.safetensors"),
        HubSource(repo=repo, revision=revision, file="pytorch_model.bin"),
    )


def _folder_entry(name: str, folder: Path) -> Entry:
    folder = folder.expanduser().absolute()
    try:
        architecture = read_json(folder / "config.json")["architecture"]
        entry = Entry(name=name, architecture=architecture, sources=(PathSource(file=folder),))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnknownModelError(
            f"{name!r} is neither the name of a model nor a folder with one.",
            "A model folder holds config.json and model.safetensors, as RUN/model does; "
            "`zoo list` shows the names.",
        ) from error
    return entry


def _remembered_timm_entry(name: str, registry: Registry) -> Entry:
    """Look a name up in timm, or in stored results of timm: importing it takes seconds."""
    if re.fullmatch(r"[\w.-]+", name) is None:
        return _timm_entry(name, registry)
    subject = {"timm": importlib.metadata.version("timm"), "name": name}
    note = recall(subject)
    if note is not None:
        return Entry.model_validate(note)
    entry = _timm_entry(name, registry)
    remember(subject, entry.model_dump(mode="json"))
    return entry


def _timm_entry(name: str, registry: Registry) -> Entry:
    from timm.models import get_pretrained_cfg, is_model, is_model_pretrained, list_pretrained

    base = name.partition(".")[0]
    config = get_pretrained_cfg(name, allow_unregistered=False) if _is_registered(name) else None
    if config is None or not is_model(base):
        raise _unknown(name, (*registry.names(), *list_pretrained()))
    if not is_model_pretrained(name) or not config.hf_hub_id:
        raise UnknownModelError(
            f"timm has the architecture {name} but no weights for it on the Hub.",
            f"Name one that has weights: {_nearest(name, (*registry.names(), *list_pretrained()))}.",
        )
    architecture = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    repo = config.hf_hub_id if config.hf_hub_id != "timm/" else f"timm/{architecture}"
    height, width = config.input_size[1:]
    return Entry(
        name=name,
        architecture=architecture,
        sources=_hub_files(repo, "main"),
        licence=_spdx(config.license),
        input_size=height if height == width else (height, width),
    )


def _is_registered(name: str) -> bool:
    from timm.models import list_models, list_pretrained

    return name in list_models() or name in list_pretrained()


def _spdx(licence: str | None) -> str | None:
    """Return the SPDX identifier of what timm writes in lower case."""
    spellings: Mapping[str, str] = {
        "apache-2.0": "Apache-2.0",
        "mit": "MIT",
        "bsd-3-clause": "BSD-3-Clause",
        "cc-by-nc-4.0": "CC-BY-NC-4.0",
    }
    return spellings.get(licence, licence) if licence else None


def _unknown(name: str, known: tuple[str, ...]) -> UnknownModelError:
    return UnknownModelError(
        f"There is no model named {name!r}.",
        f"The nearest names are: {_nearest(name, known)}. `zoo list` shows the registry.",
    )


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=5, cutoff=0.4) or list(known[:5])
    return ", ".join(near)
