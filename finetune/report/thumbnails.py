"""Images of a data folder, small enough for a page that needs no other file."""

import base64
import io
from pathlib import Path

from finetune.data.read import DEMO

__all__ = ["SIDE", "find_image", "image_root", "thumbnail"]

SIDE = 192
"""Longest side of a thumbnail in pixels; it is shown somewhat smaller, for sharp screens."""


def image_root(data: Path) -> Path:
    """Return the folder or table that a data set's images are named after; the demo's is in the cache."""
    if str(data) == DEMO and not data.is_dir():
        from finetune.data.demo import demo_folder

        return demo_folder()
    return data


def find_image(name: str, data: Path) -> Path | None:
    """Find an image by the name that a report has for it.

    Parameters
    ----------
    name : str
        Its path, relative to the data where possible.
    data : Path
        What :func:`image_root` returns: the image is looked for in it, beside it, then below the current
        folder.

    Returns
    -------
    Path or None
        None where it is gone.
    """
    for place in (data / name, data.parent / name, Path(name)):
        try:
            if place.is_file():
                return place
        except (OSError, ValueError):  # not a possible path: too long, or with a null byte
            continue
    return None


def thumbnail(path: Path) -> str | None:
    """Shrink an image for a page.

    Parameters
    ----------
    path : Path
        The image.

    Returns
    -------
    str or None
        A ``data:`` address of a JPEG at most `SIDE` pixels wide and high; None where it cannot be read.
    """
    from zoo.errors import ImageError
    from zoo.images.decode import EncodedImage, read_file

    try:
        image = EncodedImage(read_file(path), str(path)).decode(_reduction).image
    except ImageError:
        return None
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _reduction(width: int, height: int) -> int:
    """How many times smaller a JPEG may be decoded: still larger than its thumbnail."""
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or max(width, height) // factor >= 2 * SIDE)
