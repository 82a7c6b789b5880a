"""A file becomes an RGB image, and an RGB image becomes what a CNN expects.

The one place that opens images. Photographs come from strangers, so nothing is believed that a file
says of itself: not its suffix (a file is an image if it decodes), not its size (a limit stands before
decoding), and only formats that Pillow decodes inside this process are tried (EPS, for one, would
start another program).

A JPEG much larger than a CNN needs is decoded at 1/2, 1/4 or 1/8 of its sides, which libjpeg does several
times as fast: `Source` and :meth:`Preprocess.reduction`.
"""

import io
import math
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from zoo.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "REDUCED",
    "Picture",
    "Preprocess",
    "Source",
    "UnreadableImage",
    "open_image",
    "raw_pixels",
    "raw_reduction",
    "read_file",
]

MAX_PIXELS = 89_478_485
"""Largest image that is decoded, in pixels: the size at which Pillow starts to warn of a bomb."""

# What is too large for us is an error with its own words, so Pillow's warning adds nothing. Appended, so
# that whoever asked for the warning still gets it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)

# A reduced picture has at least this many times the sides it will be resized to, so that the resampling
# filter still sees every frequency it would keep.
_GAP = 2

REDUCED = f"JPEG reduced, {_GAP} x the resized size at least"
"""What the features of reduced pictures depend on besides, for cache keys."""

_RAW_SIDE = 256  # of what `raw_pixels` may shrink: what most CNNs need, so that one decode serves both

# Formats by Pillow's names, commonest first. TGA is missing on purpose: it has no signature at its
# start, so that other binary files can pass for one.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "ICO")

# What Pillow's decoders raise on damaged files. MemoryError is among them because a damaged header
# can ask for more than there is.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations that exchange width and height, those that bring the file's right side to the left or its
# first row to the right, and those that do so from bottom to top.
_LYING, _FROM_RIGHT, _FROM_BELOW = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)

_JPEG_START = b"\xff\xd8\xff"

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


Box = tuple[float, float, float, float]
Reduction = Callable[[int, int], int]


class UnreadableImage(ImageError):
    """An image that cannot be read, with the reason in a few words.

    Parameters
    ----------
    name : str
        The file at fault.
    reason : str
        Why, in a few words without a full stop; what a run lists under ``skipped``.
    next_step : str
        What to do about it, in one sentence.
    """

    def __init__(self, name: str, reason: str, next_step: str) -> None:
        super().__init__(f"Cannot read the image {name}: {reason}.", next_step)
        self.args = (name, reason, next_step)  # what pickle calls the constructor with
        self.reason = reason


def open_image(source: str | os.PathLike[str] | bytes | BinaryIO, name: str | None = None) -> Image.Image:
    """Read one image, whatever its format and mode, as upright RGB.

    EXIF orientation is applied, transparency is laid over white, 16-bit values are scaled to 8 bits,
    and of an animation the first frame is taken. Safe to call from several threads at once.

    Parameters
    ----------
    source : path, bytes or binary file
        A file's path, its content, or a seekable file open for reading.
    name : str, optional
        What an error calls the image where `source` is no path.

    Returns
    -------
    PIL.Image.Image
        Of mode ``RGB``, decoded in full and bound to no file.

    Raises
    ------
    UnreadableImage
        If it is missing, empty, truncated, too large, or not an image; an `zoo.errors.ImageError`.
    """
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), name or "in memory").image
    if not isinstance(source, (str, os.PathLike)):
        return _decode(source, name or str(getattr(source, "name", "in memory"))).image
    name = name or os.fspath(source)
    with _open_file(source, name) as file:
        return _decode(file, name).image


@dataclass(frozen=True)
class Picture:
    """A decoded picture, perhaps smaller than its file says.

    Attributes
    ----------
    image : PIL.Image.Image
        Upright RGB.
    box : (float, float, float, float)
        Left, top, right and bottom of the picture in `image`. Half of 501 pixels is 250.5, for which
        `image` has 251; to know it keeps what is resized from shifting.
    """

    image: Image.Image
    box: Box


class Source:
    """An image file's content, decoded once for each scale that is asked for.

    Parameters
    ----------
    content : bytes
        The file's bytes.
    name : str
        What an error calls it.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self._name = name
        self._pictures: dict[int, Picture] = {}

    def picture(self, reduction: Reduction | None = None) -> Picture:
        """Decode it.

        Parameters
        ----------
        reduction : callable, optional
            Takes the upright width and height, returns how many times smaller the picture may be: 1, 2,
            4 or 8. Only asked for a JPEG; other formats cannot be decoded in part.

        Returns
        -------
        Picture

        Raises
        ------
        UnreadableImage
            As by :func:`open_image`.
        """
        factor = 1 if reduction is None else self._factor(reduction)
        if factor not in self._pictures:
            self._pictures[factor] = _decode(io.BytesIO(self._content), self._name, factor)
        return self._pictures[factor]

    def _factor(self, reduction: Reduction) -> int:
        size = self._jpeg_size
        return 1 if size is None else reduction(*size)

    @cached_property
    def _jpeg_size(self) -> tuple[int, int] | None:
        """Upright width and height of a JPEG, from its header; None for all else."""
        if not self._content.startswith(_JPEG_START):
            return None
        try:
            with Image.open(io.BytesIO(self._content), formats=("JPEG",)) as image:
                width, height = image.size
                return (height, width) if _orientation(image) in _LYING else (width, height)
        except (*_DECODE_ERRORS, Image.DecompressionBombError, Image.DecompressionBombWarning):
            return None  # Decoding says what is wrong with it.


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a file's bytes, for :func:`open_image` and for its digest.

    Parameters
    ----------
    path : path
        A regular file.

    Returns
    -------
    bytes

    Raises
    ------
    UnreadableImage
        If there is none, or it may not be read.
    """
    name = os.fspath(path)
    with _open_file(path, name) as file:
        try:
            return file.read()
        except OSError as error:
            raise UnreadableImage(name, error.strerror or str(error), "Check the disk.") from error


def raw_pixels(image: Image.Image, box: Box | None = None) -> npt.NDArray[np.uint8]:
    """Shrink a whole image to 32 x 32 pixels: what a classifier sees without a CNN.

    Parameters
    ----------
    image : PIL.Image.Image
        Of mode ``RGB``, any size.
    box : (float, float, float, float), optional
        Where the picture lies in it, as in `Picture`.

    Returns
    -------
    ndarray of uint8, shape (32, 32, 3)
        Each pixel the mean of the rectangle it covers; the aspect ratio is not kept.
    """
    return np.array(image.resize((32, 32), Image.Resampling.BOX, box=box))


def raw_reduction(width: int, height: int) -> int:
    """Return how many times smaller a JPEG may be decoded for :func:`raw_pixels`: 1, 2, 4 or 8."""
    return _reduction((width, height), (_RAW_SIDE, _RAW_SIDE))


def _reduction(size: tuple[int, int], resized: tuple[int, int]) -> int:
    """The largest factor that leaves `_GAP` times the resized sides."""
    possible = min(side // (_GAP * new) for side, new in zip(size, resized, strict=True))
    return next((factor for factor in (8, 4, 2) if factor <= possible), 1)


def _open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open a regular file; anything else (a pipe would block for ever) is refused."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImage(name, "not a regular file", "Give the path of an image file.")
        return open(path, "rb")
    except FileNotFoundError:
        raise UnreadableImage(name, "no such file", "Check the path.") from None
    except PermissionError:
        raise UnreadableImage(name, "permission denied", "Make the file readable (chmod +r).") from None
    except OSError as error:
        raise UnreadableImage(name, error.strerror or str(error), "Check the path and the disk.") from error
    except ValueError as error:  # a null byte, as a damaged table may have it
        raise UnreadableImage(name, "not a possible path", "Check the path.") from error


def _decode(file: BinaryIO, name: str, factor: int = 1) -> Picture:
    if not file.read(1):
        raise UnreadableImage(name, "empty file", "Delete it or copy it anew from where it came.")
    file.seek(0)
    try:
        with Image.open(file, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(name)
            box = _reduce(image, factor)
            image.load()
            orientation = _orientation(image)
            upright = _upright(_to_rgb(image), orientation)
            return Picture(upright, _upright_box(box, upright.size, orientation))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage(
            name, "not an image in a format we read", f"Convert it to one of {', '.join(_formats())}."
        ) from None
    except _DECODE_ERRORS as error:
        raise UnreadableImage(
            name, _why_damaged(error), "Copy it anew from where it came, or delete it."
        ) from error


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Those of our formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _too_large(name: str) -> UnreadableImage:
    return UnreadableImage(
        name, f"larger than {MAX_PIXELS // 1_000_000} megapixels", "Scale it down before using it."
    )


def _why_damaged(error: BaseException) -> str:
    """Pillow's words for a decoding failure, told apart into cut short and otherwise damaged."""
    words = str(error).strip().rstrip(".") or type(error).__name__
    cut_short = isinstance(error, EOFError) or "truncated" in words.lower()
    return f"{'truncated' if cut_short else 'damaged'}: {words}"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; broken EXIF data counts as upright."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODE_ERRORS:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def _reduce(image: Image.Image, factor: int) -> tuple[float, float]:
    """Have a JPEG decoded at a fraction of its sides; return the exact sides of what comes."""
    if factor > 1 and isinstance(image, JpegImageFile):
        drafted = image.draft(None, (image.width // factor, image.height // factor))
        if drafted is not None:
            return drafted[1][2:]
    return image.size


def _upright_box(sides: tuple[float, float], size: tuple[int, int], orientation: int) -> Box:
    """Where a picture of some sides, in the file's top left corner, lies in the upright image."""
    width, height = sides[::-1] if orientation in _LYING else sides
    left = size[0] - width if orientation in _FROM_RIGHT else 0
    top = size[1] - height if orientation in _FROM_BELOW else 0
    return left, top, left + width, top + height


def _to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as RGB (a new image, never the file's own)."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scale grey values of more than 8 bits; Pillow's own conversion would clip them at 255.

    16-bit values run from 0 to 65535 = 255 x 257. Wider integers and floats have no agreed white, so
    they are stretched from the image's darkest value to its lightest.
    """
    values = grey.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if grey.dtype.kind != "f" and low >= 0 and high <= 65535:
        return np.rint(values / 257).astype(np.uint8)
    if high == low:  # flat: nothing to stretch
        return np.zeros(values.shape, np.uint8)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


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

        Returns
        -------
        Preprocess
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

        The reduced picture has at least twice the sides it is resized to. On 24 large pictures (see
        docs/performance.md) a prepared pixel then differs by 0.25 to 0.72 of 255 on average, and
        EfficientNet-Lite0's features of the worst have a cosine of 0.9986 with those of exact decoding.

        Parameters
        ----------
        width, height : int
            Of the upright picture.

        Returns
        -------
        int
            1, 2, 4 or 8. It depends on nothing but the preprocessing and the picture's size.
        """
        return _reduction((width, height), self._resized_size(width, height))

    def __call__(self, image: Image.Image, box: Box | None = None) -> npt.NDArray[np.uint8]:
        """Resize and crop one image.

        Parameters
        ----------
        image : PIL.Image.Image
            Of mode ``RGB``, any size.
        box : (float, float, float, float), optional
            Where the picture lies in it, as in `Picture`; by default everywhere.

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
        # A reduced picture's sides are those of the file divided by a power of two, exactly: all ratios,
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
