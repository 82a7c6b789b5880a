"""From a file to an RGB image, safely.

This is the only place that opens images. They are untrusted, so nothing that a file says of itself is
trusted: not its suffix (a file is an image if it decodes), not its size (a limit is checked before decoding),
and only formats that Pillow decodes inside this process are tried (EPS, for one, would start another
program).

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its sides, which libjpeg does several times as fast:
:class:`EncodedImage`; how small it may be depends on what it is used for (:mod:`zoo.images.preprocess`).
"""

import io
import os
import re
import stat
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
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
    "Box",
    "ContentInMemory",
    "DecodedImage",
    "EncodedImage",
    "Reduction",
    "UnreadableImage",
    "open_image",
    "read_file",
    "upright_rgb",
]

MAX_PIXELS = 89_478_485
"""Largest image that is decoded, in pixels: the size at which Pillow starts to warn of a bomb."""

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

# What lies among people's photographs and is none that we read, by what such files begin with (a "." stands
# for any byte). Their suffix is not looked at.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (rb".{4}ftyp(heic|heix|hevc|heim|heis|hevm|mif1|msf1)", "a HEIC photograph", "Convert it to JPEG."),
    (rb".{4}ftyp(?!avi[fs])", "a video or the like", "Save frames of it as JPEG or PNG."),
    (rb"%PDF-", "a PDF document", "Save its pages or pictures as PNG."),
    (rb"%!PS", "a PostScript file, which is a program", "Save it as PNG."),
    (rb"8BPS", "a Photoshop file", "Save it as PNG."),
    (rb"(\xef\xbb\xbf)?\s*<(svg\b|(\?xml|!--|!DOCTYPE svg).*<svg\b)", "an SVG drawing", "Save it as PNG."),
)

Box = tuple[float, float, float, float]
Reduction = Callable[[int, int], int]


class UnreadableImage(ImageError):
    """An image that cannot be read: its file, the reason in a few words, and what to do."""

    def __init__(self, name: str, reason: str, next_step: str) -> None:
        super().__init__(f"Cannot read the image {name}: {reason}.", next_step)
        self.args = (name, reason, next_step)  # what pickle calls the constructor with
        self.reason = reason


class ContentInMemory(ABC):
    """What may be given instead of a path: it brings a file's content, and ``str()`` names it."""

    @abstractmethod
    def content(self) -> bytes:
        """Return the bytes of an image file."""


def open_image(
    source: str | os.PathLike[str] | bytes | BinaryIO | ContentInMemory, name: str | None = None
) -> Image.Image:
    """Read one image, whatever its format and mode, as upright RGB.

    EXIF orientation is applied, transparency is laid over white, 16-bit values are scaled to 8 bits,
    and of an animation the first frame is taken. Safe to call from several threads at once.

    Parameters
    ----------
    source : path, bytes, binary file or ContentInMemory
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
    if isinstance(source, ContentInMemory):
        return _decode(io.BytesIO(source.content()), name or str(source)).image
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), name or "in memory").image
    if not isinstance(source, (str, os.PathLike)):
        return _decode(source, name or str(getattr(source, "name", "in memory"))).image
    name = name or os.fspath(source)
    with _open_file(source, name) as file:
        return _decode(file, name).image


@dataclass(frozen=True)
class DecodedImage:
    """A decoded upright RGB image, perhaps at a fraction of its file's size.

    `box` is the left, top, right and bottom of the picture in it: half of 501 pixels is 250.5, for which the
    image has 251; knowing this keeps a resized image from shifting.
    """

    image: Image.Image
    box: Box


class EncodedImage:
    """An image file's content, decoded once for each scale; `name` is what an error calls it."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self._name = name
        self._decoded: dict[int, DecodedImage] = {}

    def decode(self, reduction: Reduction | None = None) -> DecodedImage:
        """Decode it; a JPEG as many times smaller as `reduction` says of its upright width and height.

        Raises UnreadableImage, as :func:`open_image` does.
        """
        factor = 1 if reduction is None else self._factor(reduction)
        if factor not in self._decoded:
            self._decoded[factor] = _decode(io.BytesIO(self._content), self._name, factor)
        return self._decoded[factor]

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
            return None  # Decoding reports what is wrong with it.


def read_file(path: str | os.PathLike[str] | ContentInMemory) -> bytes:
    """Read a regular file's bytes, for :func:`open_image` and for its digest; raises UnreadableImage."""
    if isinstance(path, ContentInMemory):
        return path.content()
    name = os.fspath(path)
    with _open_file(path, name) as file:
        try:
            return file.read()
        except OSError as error:
            raise UnreadableImage(name, error.strerror or str(error), "Check the disk.") from error


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


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """Return one of Pillow's images as :func:`open_image` would read it; raises UnreadableImage."""
    try:
        image.load()
        return _upright(_to_rgb(image), _orientation(image))
    except _DECODE_ERRORS as error:
        raise UnreadableImage(name, _why_damaged(error), "Leave it out, or open it anew.") from error


def _decode(file: BinaryIO, name: str, factor: int = 1) -> DecodedImage:
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
            return DecodedImage(upright, _upright_box(box, upright.size, orientation))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except Image.UnidentifiedImageError:
        raise _other_format(file, name) from None
    except _DECODE_ERRORS as error:
        raise UnreadableImage(
            name, _why_damaged(error), "Copy it anew from where it came, or delete it."
        ) from error


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Those of our formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _other_format(file: BinaryIO, name: str) -> UnreadableImage:
    """The error for a file that no decoder takes, with what it is where that is known."""
    reason = "not an image in a format we read"
    file.seek(0)
    start = file.read(1024)
    for pattern, what, remedy in _OTHERS:
        if re.match(pattern, start, re.DOTALL):
            return UnreadableImage(name, f"{what}, {reason}", remedy)
    return UnreadableImage(name, reason, f"Convert it to one of {', '.join(_formats())}.")


def _too_large(name: str) -> UnreadableImage:
    return UnreadableImage(
        name, f"larger than {MAX_PIXELS // 1_000_000} megapixels", "Scale it down before using it."
    )


def _why_damaged(error: BaseException) -> str:
    """Pillow's words for a decoding failure, divided into truncated and otherwise damaged."""
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
    """Where an image of some sides, in the file's top left corner, lies in the upright image."""
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
