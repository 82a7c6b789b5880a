"""``zoo.lock``: which commit and which contents a branch of the Hub stood for when it was first pulled.

A branch may move, so that the same name gives other weights next week. The lock pins what was pulled, and
every later load is checked against it; ``zoo pull --update`` moves the pin. It is a text file for version
control: one that lies beside your own registry gives everybody who shares it the same weights.
"""

import errno
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.cache.folders import cache_errors, cache_folder, cache_root, locked
from zoo.cache.notes import digest_of
from zoo.errors import WeightsError
from zoo.registry.entry import Sha256
from zoo.writing import write_text

__all__ = ["LOCK_NAME", "Lock", "Pin"]

LOCK_NAME = "zoo.lock"

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Pin(BaseModel):
    """What a revision of a repository stood for.

    Attributes
    ----------
    commit : str
        The commit that it was resolved to.
    files : dict of str to str
        The SHA-256 of each file that was pulled, by its path in the repository.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    files: dict[str, Sha256]


class _Contents(BaseModel):
    """The file itself; the keys of `repositories` are ``owner/name@revision``."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    repositories: dict[str, Pin] = Field(default_factory=dict)


class Lock:
    """The pins that hold here.

    Parameters
    ----------
    registry : Path, optional
        The user's own registry; by default the file that ``$ZOO_REGISTRY`` names. The lock lies beside it;
        without one, or where that folder cannot be written, in the cache folder. What both pin, the one
        beside the registry decides.

    Attributes
    ----------
    paths : tuple of Path
        Where the pins are read from, the first of them being where new ones are written if possible.
    """

    def __init__(self, registry: Path | None = None) -> None:
        from_environment = os.environ.get("ZOO_REGISTRY")
        if registry is None and from_environment:
            registry = Path(from_environment)
        beside = () if registry is None else (registry.expanduser().absolute().with_name(LOCK_NAME),)
        self.paths = (*beside, cache_root() / LOCK_NAME)

    def pins(self) -> dict[str, Pin]:
        """Return all pins, by ``owner/name@revision``.

        Raises
        ------
        WeightsError
            If a lock file is damaged or of another version.
        """
        merged: dict[str, Pin] = {}
        for path in reversed(self.paths):
            merged |= _read(path).repositories
        return merged

    def pin(self, repo: str, revision: str) -> Pin | None:
        """Return what is pinned for a revision of a repository, if anything; errors as for `pins`."""
        return self.pins().get(f"{repo}@{revision}")

    def place(self, repo: str, revision: str) -> Path:
        """Return the file that a revision's pin is read from; errors as for `pins`."""
        name = f"{repo}@{revision}"
        return next((path for path in self.paths if name in _read(path).repositories), self.paths[-1])

    def add(self, repo: str, revision: str, pin: Pin) -> None:
        """Pin a revision; files that are pinned at the same commit stay pinned.

        Raises
        ------
        CacheError
            If the lock cannot be written.
        WeightsError
            If it is damaged.
        """
        for path in self.paths:
            try:
                _add(path, f"{repo}@{revision}", pin)
                return
            except OSError as error:
                # A registry that an administrator shares may lie where users cannot write.
                if path == self.paths[-1] or error.errno not in _FORBIDDEN:
                    with cache_errors(path):
                        raise


def _add(path: Path, name: str, pin: Pin) -> None:
    # The process lock lies in the cache, so that the user's folder holds zoo.lock and nothing else.
    with locked(cache_folder("notes") / digest_of({"lock": str(path)})):
        contents = _read(path)
        known = contents.repositories.get(name)
        if known is not None and known.commit == pin.commit:
            pin = Pin(commit=pin.commit, files={**known.files, **pin.files})
        if known == pin:
            return
        repositories = {**contents.repositories, name: pin}
        ordered = {
            key: Pin(commit=value.commit, files=dict(sorted(value.files.items())))
            for key, value in sorted(repositories.items())
        }
        write_text(path, _Contents(repositories=ordered).model_dump_json(indent=1) + "\n")


def _read(path: Path) -> _Contents:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _Contents()
    except OSError as error:
        raise WeightsError(
            f"The lock file {path} cannot be read ({error.strerror}).", "Check its permissions."
        ) from error
    try:
        return _Contents.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise WeightsError(
            f"The lock file {path} is damaged: {where + ': ' if where else ''}{fault['msg']}.",
            "Restore it, for instance from version control; or remove it, and what is pulled next is pinned.",
        ) from error
