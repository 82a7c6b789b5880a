"""The function that every export holds: from an image's pixels to calibrated probabilities.

It is the network with its normalisation in front (:class:`zoo.engines.graph.Graph`), the head, the softmax of
its calibrated scores, and, where the run knows, how unlike the training images an image is.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from finetune.evaluation.unfamiliar import Unfamiliar
from finetune.export.heads import head_module
from zoo.engines.graph import Graph
from zoo.features.spaces import BackboneSpace

if TYPE_CHECKING:
    from finetune.runs.predictor import Predictor

__all__ = ["Classifier", "UnfamiliarModule", "classifier"]


class Classifier(nn.Module):
    """Pixels of a batch of images, (n, height, width, 3) uint8 RGB, to all that is known of them.

    Parameters
    ----------
    features : Module
        From pixels to features (n, d).
    head : Module
        From features to calibrated scores (n, c).
    n_last : int
        How many of the features, the first ones, are the network's last.
    unfamiliar : Unfamiliar, optional
        What the run knows of its training images' last features.
    """

    def __init__(
        self, features: nn.Module, head: nn.Module, n_last: int, unfamiliar: Unfamiliar | None = None
    ) -> None:
        super().__init__()
        self.features = features
        self.n_last = n_last
        self.head = head
        self.unfamiliar = None if unfamiliar is None else UnfamiliarModule(unfamiliar)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is returned, in this order."""
        names = ("probabilities", "scores", "features")
        return names if self.unfamiliar is None else (*names, "unfamiliar")

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what `outputs` names, a row or a number for each image."""
        features = self.features(pixels)
        scores = self.head(features)
        last = features[:, : self.n_last]
        found = (scores.softmax(dim=1), scores, last)
        return found if self.unfamiliar is None else (*found, self.unfamiliar(last))

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute in torch, by the outputs' names."""
        with torch.inference_mode():
            found = self(torch.from_numpy(pixels))
        return {name: tensor.numpy() for name, tensor in zip(self.outputs, found, strict=True)}


class Features(nn.Module):
    """A network's features, side by side where several layers are read.

    Parameters
    ----------
    graph : Graph
        The network.
    mirrored : bool
        Whether they are the mean over an image and its mirror image.
    """

    def __init__(self, graph: Graph, mirrored: bool) -> None:
        super().__init__()
        self.graph = graph
        self.mirrored = mirrored

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features, (n, d)."""
        found = torch.cat(self.graph(pixels), dim=1)
        if not self.mirrored:
            return found
        return (found + torch.cat(self.graph(pixels.flip(2)), dim=1)) * 0.5


class Colours(nn.Module):
    """The pixels themselves, from 0 to 1: what a classifier without a CNN is given."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return a row of numbers for each image, (n, height * width * 3)."""
        return pixels.flatten(1).float() / 255


class UnfamiliarModule(nn.Module):
    """:meth:`finetune.evaluation.unfamiliar.Unfamiliar.predict` in torch."""

    references: torch.Tensor
    distances: torch.Tensor
    p_values: torch.Tensor

    def __init__(self, known: Unfamiliar) -> None:
        super().__init__()
        self.known = known
        self.register_buffer("references", torch.tensor(known.references))
        self.register_buffer("distances", torch.tensor(known.distances))
        self.register_buffer("p_values", torch.tensor(known.p_values, dtype=torch.float32))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return p-values, (n,)."""
        lengths = (features * features).sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        cosines = (features / lengths) @ self.references.float().T
        distance = 1 - torch.topk(cosines, self.known.k, dim=1).values[:, -1:]
        place = (self.distances < distance).sum(dim=1)
        return self.p_values[place]


def classifier(predictor: "Predictor", unfamiliar: Unfamiliar | None) -> Classifier:
    """Return a run's classifier as a torch module in evaluation mode."""
    space = predictor.space
    if isinstance(space, BackboneSpace):
        features: nn.Module = Features(Graph(space.backbone, list(space.taps.values())), predictor.mirrored)
        n_last = space.backbone.num_features
    else:
        features, n_last = Colours(), space.width
    module = Classifier(features, head_module(predictor.head), n_last, unfamiliar)
    return module.eval().requires_grad_(False)
