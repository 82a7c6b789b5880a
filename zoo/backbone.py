"""From a name to a pretrained CNN without its classifier.

A backbone knows its weights' digest, its preprocessing and its width from a small configuration
file; torch and timm are imported only when the network itself is needed.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import WeightsError, ZooError
from zoo.images.preprocess import Preprocess
from zoo.registry.entry import Entry
from zoo.registry.registry import Registry, resolve
from zoo.weights.digests import tensors_sha256
from zoo.weights.locate import PullOptions
from zoo.weights.lock import Lock
from zoo.weights.ready import ReadyModel, ready

if TYPE_CHECKING:
    import torch

__all__ = ["VIEWS", "Backbone", "Stage", "UnknownViewError", "load"]

#: Which part of an image is a network's input; see :meth:`Backbone.with_view`.
VIEWS = ("crop", "whole")


class UnknownViewError(ZooError):
    """A view that does not exist."""


#: What timm raises where a folder's configuration and tensors are not those of a network.
_TIMM_RAISES = (
    *(RuntimeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError),
    *(AssertionError, OSError),
)


@dataclass(frozen=True)
class Stage:
    """A place in a network where its features can be read.

    Attributes
    ----------
    name : str
        The module's name, such as ``blocks.3``.
    reduction : int
        Input pixels a side for each pixel of the stage's output.
    channels : int
        Channels of its output.
    """

    name: str
    reduction: int
    channels: int


class Backbone:
    """A pretrained CNN without its classifier, frozen.

    Parameters
    ----------
    entry : Entry
        Its description in the registry.
    ready : ReadyModel
        Its verified weights and configuration.

    Attributes
    ----------
    entry : Entry
        Its description in the registry.
    folder : Path
        Its ``config.json`` and ``model.safetensors``, in the layout of timm's ``local-dir:``.
    config : dict
        The configuration in that folder.
    weights_sha256 : str
        Digest of the file that the weights came from.
    preprocess : Preprocess
        What turns an image into its input.
    """

    def __init__(self, entry: Entry, ready: ReadyModel) -> None:
        self.entry = entry
        self.folder: Path = ready.folder
        self.config: dict[str, Any] = ready.config
        self.weights_sha256 = ready.sha256
        try:
            self.preprocess = Preprocess.from_config(self.config["pretrained_cfg"])
            # Whatever is missing or of another type is found here, and not in the midst of the work.
            _ = self.architecture, self.num_features, self.stages, self.classifier
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise WeightsError(
                f"{self.folder / 'config.json'} does not describe a network that can be read"
                f" ({type(error).__name__}: {error}).",
                "Name another network, or get this one's folder anew from where it came.",
            ) from error

    def __repr__(self) -> str:
        height, width = self.preprocess.input_size
        return f"<Backbone {self.name}: {self.num_features} features at {height}x{width}>"

    def __getstate__(self) -> dict[str, Any]:
        # The network itself is loaded again where it is needed, from the same folder.
        return {name: value for name, value in self.__dict__.items() if name != "module"}

    @property
    def name(self) -> str:
        """The name it was loaded by."""
        return self.entry.name

    @property
    def architecture(self) -> str:
        """timm's name of the network."""
        return str(self.config["architecture"])

    @property
    def num_features(self) -> int:
        """How many features it gives for an image."""
        return int(self.config["num_features"])

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Where features can be read, from the input to the output."""
        return tuple(
            Stage(str(s["module"]), int(s["reduction"]), int(s["channels"])) for s in self.config["stages"]
        )

    @property
    def classifier(self) -> str:
        """The module that the network's own classifier is, such as ``fc`` or ``head.fc``."""
        return str(self.config["pretrained_cfg"]["classifier"])

    def with_view(self, view: str) -> "Backbone":
        """Return the same network with another part of each image for its input.

        Parameters
        ----------
        view : str
            ``crop`` for what the network's own configuration says, mostly the middle of the image; ``whole``
            for the whole image, whose sides are each resized to those of the input (timm's ``crop_mode`` is
            then ``squash`` and its ``crop_pct`` 1).

        Raises
        ------
        UnknownViewError
            If there is no such view.
        """
        if view not in VIEWS:
            raise UnknownViewError(f"There is no view {view!r}.", f"Choose from {', '.join(VIEWS)}.")
        if view == "crop":
            return self
        cfg = {**self.config["pretrained_cfg"], "crop_mode": "squash", "crop_pct": 1.0}
        config = {**self.config, "pretrained_cfg": cfg}
        return Backbone(self.entry, ReadyModel(self.folder, config, self.weights_sha256))

    @cached_property
    def identity(self) -> dict[str, str]:
        """What its features depend on, besides the image and the precision of the arithmetic.

        The tensors themselves are digested, without the classifier's: the model that a probe saves
        has the features of the backbone it was trained on, and so finds them in the store.
        """
        return {
            "architecture": self.architecture,
            "tensors_sha256": tensors_sha256(self.folder / "model.safetensors", self.classifier),
            "preprocess": self.preprocess.key,
        }

    @cached_property
    def module(self) -> "torch.nn.Module":
        """The network itself: (n, 3, height, width) normalised images to (n, num_features).

        In evaluation mode, and no parameter requires a gradient.
        """
        import timm
        import torch
        from safetensors import SafetensorError

        try:
            with torch.random.fork_rng(devices=[]):  # Weights are drawn at random before they are loaded.
                model: Any = timm.create_model(f"local-dir:{self.folder}", pretrained=True)
            model.reset_classifier(0)
        except (*_TIMM_RAISES, SafetensorError) as error:
            raise WeightsError(
                f"{self.folder} holds no network that timm can open ({type(error).__name__}: {error}).",
                "Name another network, or get this one's folder anew from where it came.",
            ) from error
        frozen: torch.nn.Module = model.eval().requires_grad_(False)
        return frozen


def load(name: str, *, registry: Registry | None = None, offline: bool = False) -> Backbone:
    """Load a pretrained CNN: find it, download and verify its weights if necessary.

    Parameters
    ----------
    name : str
        A name of the registry, one of timm's, ``hf-hub:owner/repo[@revision]`` or
        ``local-dir:FOLDER``.
    registry : Registry, optional
        Where to look the name up; by default the zoo's own with ``$ZOO_REGISTRY`` laid over it.
    offline : bool, optional
        Use only what is on this machine.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownModelError
        If nothing has that name.
    WeightsError
        If its weights are unavailable or not what they should be.

    Examples
    --------
    >>> backbone = load("efficientnet_lite0")
    >>> backbone.num_features
    1280
    """
    entry = resolve(name, registry)
    lock = Lock(None if registry is None else registry.file)
    return Backbone(entry, ready(entry, PullOptions(offline=offline, lock=lock)))
