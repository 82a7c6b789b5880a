"""From an RGB image to the pixels that a CNN expects.

Large JPEGs are decoded at a fraction of their sides where that is at least twice what they are resized to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from zoo.images.decode import MAX_PIXELS, Box, UnreadableImage

__all__ = ["REDUCED", "Preprocess", "raw_pixels", "raw_reduction"]

# A reduced image has at least this many times the sides it will be resized to, so that the resampling
# filter still sees every frequency it would keep.
_GAP = 2

#: Pixels of a network's input that are more than any has, so that a damaged file cannot ask for all memory.
_LARGEST_SIDE = 8192

REDUCED = f"JPEG reduced, {_GAP} x the resized size at least"
"""What features of reduced images depend on besides, for cache keys."""

_RAW_SIDE = 256  # of what `raw_pixels` may shrink: what most CNNs need, so that one decode serves both

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocess:
    """How a CNN wants its input: resized and cropped as in timm's evaluation transform.

    Calling it gives the pixels; the mean is subtracted and the result divided by the standard
    deviation later, on the whole batch, by whatever runs it.

    Parameters
    ----------
    input_size : (int, int)
        Height and width of the result, in pixels.
    interpolation : str
        ``nearest``, ``bilinear``, ``bicubic``, ``box``, ``hamming`` or ``lanczos``.
    crop_pct : float
        The crop's side as a fraction of the resized image's side.
    crop_mode : str
        ``center`` (short side resized, middle cropped), ``squash`` (both sides resized, so that the
        aspect ratio is lost) or ``border`` (long side resized, the rest filled with the mean colour).
    mean, std : (float, float, float)
        Of red, green and blue, on a scale from 0 to 1.
    """

    input_size: tuple[int, int]
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not all(1 <= side <= _LARGEST_SIDE for side in self.input_size):
            raise ValueError(f"input_size {self.input_size} is not between 1 and {_LARGEST_SIDE}")
        if not 0.01 <= self.crop_pct <= 100:
            raise ValueError(f"crop_pct {self.crop_pct} is not between 0.01 and 100")
        if not len(self.mean) == len(self.std) == 3 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError("mean and std are not three numbers each")
        if self.interpolation not in _RESAMPLING:
            raise ValueError(f"interpolation {self.interpolation!r} is none of {', '.join(_RESAMPLING)}")
        if self.crop_mode not in ("center", "squash", "border"):
            raise ValueError(f"crop_mode {self.crop_mode!r} is none of center, squash, border")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Preprocess":
        """Read timm's ``pretrained_cfg``; what it lacks takes timm's defaults.

        Parameters
        ----------
        config : mapping
            With any of ``input_size`` (channels, height, width), ``interpolation``, ``crop_pct``,
            ``crop_mode``, ``mean`` and ``std``.
        """
        height, width = (config.get("input_size") or (3, 224, 224))[-2:]
        return cls(
            input_size=(int(height), int(width)),
            interpolation=config.get("interpolation") or cls.interpolation,
            crop_pct=float(config.get("crop_pct") or cls.crop_pct),
            crop_mode=config.get("crop_mode") or cls.crop_mode,
            mean=_floats(config.get("mean") or cls.mean),
            std=_floats(config.get("std") or cls.std),
        )

    @property
    def key(self) -> str:
        """A string that is equal for equal preprocessing, for cache keys."""
        height, width = self.input_size
        mean, std = (",".join(map(repr, values)) for values in (self.mean, self.std))
        return (
            f"{height}x{width} {self.interpolation} {self.crop_mode} {self.crop_pct!r} mean {mean} std {std}"
        )

    def reduction(self, width: int, height: int) -> int:
        """Return how many times smaller a JPEG may be decoded.

        The reduced image has at least twice the sides it is resized to. On 24 large images (see
        docs/performance.md) a prepared pixel then differs by 0.25 to 0.72 of 255 on average, and
        EfficientNet-Lite0's features of the worst have a cosine of 0.9986 with those of exact decoding.

        Parameters
        ----------
        width, height : int
            Of the upright image.

        Returns
        -------
        int
            1, 2, 4 or 8. It depends on nothing but the preprocessing and the image's size.
        """
        return _reduction((width, height), self._resized_size(width, height))

    def __call__(self, image: Image.Image, box: Box | None = None) -> npt.NDArray[np.uint8]:
        """Resize and crop one image.

        Parameters
        ----------
        image : PIL.Image.Image
            Of mode ``RGB``, any size.
        box : (float, float, float, float), optional
            Where the image lies in it, as in `DecodedImage`; by default everywhere.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            The pixels that timm's transform hands to its normalisation.

        Raises
        ------
        UnreadableImage
            If the image is so long and thin that it cannot be resized within `MAX_PIXELS`.
        """
        left, top, right, bottom = box or (0, 0, *image.size)
        # A reduced image's sides are those of the file divided by a power of two, exactly: all ratios,
        # and so the resized size, come out as for the file's own.
        width, height = self._resized_size(right - left, bottom - top)
        if width * height > MAX_PIXELS:
            raise UnreadableImage(
                f"of {image.width} x {image.height} pixels",
                "too long and thin to be resized",
                "Crop it before using it.",
            )
        if (width, height) != image.size:
            image = image.resize((width, height), _RESAMPLING[self.interpolation], box=box)
        return np.array(_centre(image, self.input_size, self._fill()))

    def _resized_size(self, width: float, height: float) -> tuple[int, int]:
        """Width and height before the crop, rounded where torchvision and timm round."""
        target_height, target_width = (math.floor(side / self.crop_pct) for side in self.input_size)
        if self.crop_mode == "squash":
            return target_width, target_height
        if self.crop_mode == "center" and target_height == target_width:
            short, long = min(width, height), max(width, height)
            new_long = int(target_width * long / short)
            return (target_width, new_long) if width <= height else (new_long, target_height)
        ratios = (height / target_height, width / target_width)
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def _fill(self) -> tuple[int, ...]:
        """The colour of what lies beyond the image's edges."""
        if self.crop_mode == "border":
            return tuple(round(255 * value) for value in self.mean)
        return (0, 0, 0)


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _centre(image: Image.Image, size: tuple[int, int], fill: tuple[int, ...]) -> Image.Image:
    """Pad an image that is smaller than `size` (height, width), then cut out its middle."""
    height, width = size
    across, down = max(width - image.width, 0), max(height - image.height, 0)
    if across or down:
        padded = Image.new("RGB", (image.width + across, image.height + down), fill)
        padded.paste(image, (across // 2, down // 2))
        image = padded
    left = round((image.width - width) / 2)
    top = round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def raw_pixels(image: Image.Image, box: Box | None = None) -> npt.NDArray[np.uint8]:
    """Shrink a whole RGB image to (32, 32, 3) uint8: the input of a classifier without a CNN.

    Each pixel is the mean of the rectangle it covers; the aspect ratio is not kept. `box` is as in
    `DecodedImage`.
    """
    return np.array(image.resize((32, 32), Image.Resampling.BOX, box=box))


def raw_reduction(width: int, height: int) -> int:
    """Return how many times smaller a JPEG may be decoded for :func:`raw_pixels`: 1, 2, 4 or 8."""
    return _reduction((width, height), (_RAW_SIDE, _RAW_SIDE))


def _reduction(size: tuple[int, int], resized: tuple[int, int]) -> int:
    """The largest factor that leaves `_GAP` times the resized sides."""
    possible = min(side // (_GAP * new) for side, new in zip(size, resized, strict=True))
    return next((factor for factor in (8, 4, 2) if factor <= possible), 1)
