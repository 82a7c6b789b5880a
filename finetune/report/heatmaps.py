"""Heat maps: what a classifier looked at in an image.

A map shows how much each position of the image, as the network saw it, spoke for the predicted class and
against the others (:mod:`zoo.engines.maps`). What contributed most is bright yellow; what contributed
nothing, or spoke for another class, is dark blue. The colours differ in brightness as well, so that
colour-blind readers can tell them apart.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from finetune.runs.predictor import Predictor
    from zoo.backbone import Backbone
    from zoo.engines.maps import PositionMaps
    from zoo.engines.taps import FeatureTap

__all__ = ["HeatMaps", "contributions", "heat_maps", "overlay", "position_maps"]

#: Pixels a side of a map in the page, and its quality as a JPEG.
SIDE, QUALITY = 176, 78

#: Positions a side that the contributions of several layers are brought to before they are added.
GRID = 28

#: Colours of none, half and most: the ends and the middle of cividis (Nuñez, Anderton and Renslow 2018,
#: "Optimizing colormaps with consideration for color vision deficiency", PLOS ONE).
COLOURS = ((0, 34, 78), (124, 123, 120), (254, 232, 56))

#: How much of the picture is colour; the rest is the image in grey.
OPACITY = 0.55


@dataclass(frozen=True)
class HeatMaps:
    """Maps of some images.

    Attributes
    ----------
    exact : bool
        Whether a score is the mean of its map, up to a constant; otherwise the maps are approximations.
    pictures : list of str
        JPEGs as ``data:`` addresses, in the order of the images.
    """

    exact: bool
    pictures: list[str]


def heat_maps(predictor: Predictor, images: Sequence[Path], classes: NDArray[np.int64]) -> HeatMaps | None:
    """Draw what a classifier looked at.

    Parameters
    ----------
    predictor : Predictor
    images : sequence of Path
        The n images, all readable: some dozens at most, for they are computed in one batch.
    classes : (n,) int array
        What is explained of each: why it was predicted as this class and not another.

    Returns
    -------
    HeatMaps or None
        None for a classifier on pixels, which looks at each pixel alike, and for no images.
    """
    from zoo.features.spaces import BackboneSpace, prepared
    from zoo.images.decode import EncodedImage, read_file

    space = predictor.space
    if not isinstance(space, BackboneSpace) or not images:
        return None
    pixels = np.stack([prepared(space, EncodedImage(read_file(path), str(path))) for path in images])
    maps, exact = contributions(predictor, pixels, classes)
    return HeatMaps(exact, [overlay(image, one) for image, one in zip(pixels, maps, strict=True)])


def contributions(
    predictor: Predictor, pixels: NDArray[np.uint8], classes: NDArray[np.int64]
) -> tuple[NDArray[np.float32], bool]:
    """Compute each position's contribution to the score of a class, relative to the mean of all classes'.

    Parameters
    ----------
    predictor : Predictor
        Of a head on a network's features.
    pixels : (n, height, width, 3) uint8 array
        Images as the network expects them.
    classes : (n,) int array

    Returns
    -------
    maps : (n, h, w) array
    exact : bool
        Whether the mean over the positions is the score, up to a constant that is the same for all images.
    """
    from finetune.heads.linear import Linear

    space: Any = predictor.space
    mirrored = predictor.mirrored  # the head reads the mean of an image and its mirror image
    seen = np.concatenate([pixels, pixels[:, :, ::-1]]) if mirrored else pixels
    layers = position_maps(space.backbone, tuple(space.taps.values()), seen)
    X = layers.features.reshape(-1, len(pixels), layers.features.shape[1]).mean(axis=0)
    weights = predictor.head.gradient(X, classes)
    parts = layers.contributions(np.tile(weights, (len(seen) // len(pixels), 1)))
    total = parts[0] if len(parts) == 1 else np.sum([_resized(part) for part in parts], axis=0)
    if mirrored:
        there, back = np.split(total, 2)
        total = (there + back[:, :, ::-1]) / 2
    expected, got = (X * weights).sum(axis=1), total.mean(axis=(1, 2))
    near = np.allclose(got, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max(initial=1e-6)))
    return total, near and isinstance(predictor.head, Linear)


def position_maps(backbone: Backbone, taps: Sequence[FeatureTap], pixels: NDArray[np.uint8]) -> PositionMaps:
    """Run a network on a few images, in one batch.

    OpenVINO runs it, if the network was converted for it before and its features are only averages or maxima
    of layers: then neither torch nor timm need be imported, which takes seconds. Otherwise torch does.

    Parameters
    ----------
    backbone : Backbone
    taps : sequence of FeatureTap
        What the features consist of, in their order.
    pixels : (n, height, width, 3) uint8 array
        Images as the network expects them.
    """
    from zoo.engines.contract import installed
    from zoo.engines.maps import PlainMaps

    if installed("openvino"):
        from zoo.engines.openvino_engine import pooled_layers

        found = pooled_layers(backbone, taps, pixels)
        if found is not None:
            return PlainMaps(*found)
    from zoo.engines.torch_maps import TorchMaps

    return TorchMaps(backbone, taps, pixels)


def overlay(pixels: NDArray[np.uint8], contributions: NDArray[np.floating[Any]]) -> str:
    """Lay a map over its image.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
    contributions : (h, w) array

    Returns
    -------
    str
        A ``data:`` address.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    wide = Image.fromarray(np.asarray(contributions, np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(wide), 0, None)
    heat = heat / (heat.max() or 1.0)
    scale = np.linspace(0, 1, len(COLOURS))
    colour = np.stack([np.interp(heat, scale, channel) for channel in np.transpose(COLOURS)], axis=-1)
    grey = np.asarray(image.convert("L"), np.float32)[:, :, None]
    mixed = np.clip(OPACITY * colour + (1 - OPACITY) * grey, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(mixed).save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _resized(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring maps to `GRID` positions a side; each keeps its mean."""
    from PIL import Image

    box = Image.Resampling.BOX
    found = np.stack([np.asarray(Image.fromarray(one).resize((GRID, GRID), box)) for one in maps])
    shift: NDArray[np.float32] = (maps.mean(axis=(1, 2)) - found.mean(axis=(1, 2)))[:, None, None]
    return found + shift
