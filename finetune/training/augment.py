"""Random views of an image, which keep a network from memorising its few training images.

Every view is a function of the image and of a random generator, whatever thread makes it and in whatever
order; torchvision's transforms draw from global generators. The parameters follow theirs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["LEVELS", "Augment"]


@dataclass(frozen=True)
class Augment:
    """How views differ from the image.

    Attributes
    ----------
    scale : (float, float)
        Smallest and largest share of the image's area that a view shows.
    ratio : float
        Largest aspect ratio of the area shown, either way; it is then resized to the view's own.
    jitter : float
        Brightness, contrast and saturation are each multiplied by 1 - jitter to 1 + jitter.
    hflip : bool
        Mirror every other view.
    """

    scale: tuple[float, float]
    ratio: float
    jitter: float
    hflip: bool = True

    @classmethod
    def from_level(cls, level: str, hflip: bool = True) -> "Augment | None":
        """Return a level's parameters.

        Parameters
        ----------
        level : str
            One of `LEVELS`.
        hflip : bool, optional
            Whether a mirrored image still shows the same; a letter, for one, does not.

        Returns
        -------
        Augment or None
            None for no augmentation.
        """
        parameters = LEVELS[level]
        return parameters and cls(*parameters, hflip)

    @property
    def key(self) -> str:
        """A string that is equal for equal augmentation, for cache keys."""
        low, high = self.scale
        return f"area {low!r}-{high!r} ratio {self.ratio!r} jitter {self.jitter!r} flip {self.hflip}"

    def __call__(
        self, image: Image.Image, size: tuple[int, int], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Make one view.

        Parameters
        ----------
        image : PIL.Image.Image
            Of mode ``RGB``.
        size : (int, int)
            Height and width of the view.
        rng : Generator
            Decides on everything random.

        Returns
        -------
        (height, width, 3) uint8 array
        """
        box = self._box(image.width, image.height, rng)
        mirrored = self.hflip and rng.random() < 0.5
        factors = 1 + self.jitter * rng.uniform(-1, 1, 3)
        view = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
        if mirrored:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.array(_coloured(view, *factors) if self.jitter else view)

    def _box(self, width: int, height: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """A rectangle of random area and aspect ratio, within the image."""
        area = rng.uniform(*self.scale) * width * height
        aspect = math.exp(rng.uniform(-1, 1) * math.log(self.ratio))
        across = min(math.sqrt(area * aspect), width)
        down = min(math.sqrt(area / aspect), height)
        left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
        return left, top, left + across, top + down


def _coloured(view: Image.Image, brightness: float, contrast: float, saturation: float) -> Image.Image:
    """Change brightness, contrast and saturation, one after the other, as a single affine map of colours.

    Each is a mixture: with black, with the image's mean grey and with the pixel's grey. One map takes a
    quarter of the time of Pillow's three, and rounds once.
    """
    grey = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, Pillow's
    mean = grey @ np.array(view.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))
    mixed = saturation * np.eye(3) + (1 - saturation) * grey
    matrix = np.full((3, 4), (1 - contrast) * brightness * mean)
    matrix[:, :3] = brightness * contrast * mixed
    return view.convert("RGB", tuple(matrix.ravel().tolist()))


#: Area, ratio and jitter by name. ``light`` leaves every object recognisable; ``strong`` is milder than
#: what networks are trained with on ImageNet (Szegedy et al. 2015: areas from 0.08, ratios to 4/3).
LEVELS: dict[str, tuple[tuple[float, float], float, float] | None] = {
    "none": None,
    "light": ((0.6, 1.0), 1.15, 0.2),
    "strong": ((0.25, 1.0), 4 / 3, 0.4),
}
