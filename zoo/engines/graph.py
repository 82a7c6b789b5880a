"""The function that every engine computes: from pixels to features."""

import torch

from zoo.backbone import Backbone

__all__ = ["Graph", "example"]


class Graph(torch.nn.Module):
    """A backbone with its normalisation in front.

    Takes a batch of images as they lie in memory, (n, height, width, 3) uint8, and gives
    (n, num_features) float32. A quarter of the bytes of normalised float32 images, and an engine can
    merge the normalisation into the first convolution.

    Parameters
    ----------
    backbone : Backbone
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network = backbone.module
        mean = torch.tensor(backbone.preprocess.mean).view(1, 3, 1, 1)
        std = torch.tensor(backbone.preprocess.std).view(1, 3, 1, 1)
        # (x / 255 - mean) / std, as one multiplication and one addition.
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute features.

        Parameters
        ----------
        pixels : (n, height, width, 3) uint8 tensor

        Returns
        -------
        (n, num_features) float32 tensor
        """
        # Seen as (n, 3, height, width), pixels that lie (n, height, width, 3) are channels-last
        # already: no copy.
        images = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        features: torch.Tensor = self.network(images)
        return features.float()


def example(backbone: Backbone, n: int = 2) -> torch.Tensor:
    """Return `n` arbitrary but always the same images of the backbone's input size."""
    height, width = backbone.preprocess.input_size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (n, 3, 8, 8), generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
