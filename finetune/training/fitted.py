"""A trained network as a method's result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.method import Fitted, Images
from finetune.runs.saved import save_network
from finetune.training.network import evaluating
from zoo.backbone import Backbone
from zoo.images.decode import EncodedImage, read_file
from zoo.parallel import in_order

__all__ = ["FittedNetwork"]


@dataclass(eq=False, kw_only=True)
class FittedNetwork(Fitted):
    """A trained network, with the temperature folded into its classifier.

    Attributes
    ----------
    backbone : Backbone
        The network before the training.
    network : Module
        The network now.
    trained : set of str
        Names of the tensors that may differ.
    input_size : (int, int)
        Height and width of the images that it was trained on.
    """

    backbone: Backbone
    network: Any
    trained: set[str]
    input_size: tuple[int, int]

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)

    def decision_function(self, images: Images) -> NDArray[np.float32]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""
        preprocess = replace(self.backbone.preprocess, input_size=self.input_size)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
        device = next(self.network.parameters()).device

        def pixels(path: Path) -> NDArray[np.uint8]:
            image = EncodedImage(read_file(path), str(path)).decode(preprocess.reduction)
            return preprocess(image.image, image.box)

        scores: list[NDArray[np.float32]] = []
        decoded = in_order(pixels, images.paths, 64)
        chunks = np.array_split(np.arange(len(images)), -(-len(images) // 32)) if len(images) else []
        with evaluating(self.network), torch.inference_mode():
            for chunk in chunks:
                batch = torch.from_numpy(np.stack([next(decoded) for _ in chunk]))
                given = (batch.permute(0, 3, 1, 2).float() / 255 - mean) / std
                scores.append(self.network(given.to(device)).float().cpu().numpy())
        return np.concatenate(scores) if scores else np.empty((0, len(self.classes)), np.float32)

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, in timm's layout."""
        state = self.network.state_dict()
        tensors = {name: state[name].detach().cpu().contiguous().numpy() for name in sorted(self.trained)}
        size = None if self.input_size == self.backbone.preprocess.input_size else self.input_size
        save_network(folder, self.backbone, tensors, self.classes, size)
