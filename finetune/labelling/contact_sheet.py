"""Small pictures of many images on one, with numbers, so that one sees what is to be labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["contact_sheet"]

#: Longest side of a picture, height of the line below it, and pictures beside each other.
SIDE, CAPTION, COLUMNS = 160, 18, 8


def contact_sheet(paths: Sequence[Path], captions: Sequence[str]) -> Image:
    """Draw a contact sheet.

    Parameters
    ----------
    paths : sequence of Path
        Readable images.
    captions : sequence of str
        A few words for each; what is too long for its picture is cut.

    Returns
    -------
    PIL.Image.Image
        Row by row, `COLUMNS` pictures a row.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(paths) // COLUMNS)
    sheet = Image.new(
        "RGB", (min(len(paths), COLUMNS) * (SIDE + 8) + 8, rows * (SIDE + CAPTION + 8) + 8), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (path, caption) in enumerate(zip(paths, captions, strict=True)):
        x = 8 + place % COLUMNS * (SIDE + 8)
        y = 8 + place // COLUMNS * (SIDE + CAPTION + 8)
        picture = _picture(path)
        sheet.paste(picture, (x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2))
        while caption and draw.textlength(caption, font) > SIDE:
            caption = caption[:-1]
        draw.text((x, y + SIDE + 2), caption, "black", font)
    return sheet


def _picture(path: Path) -> Image:
    from PIL import ImageOps

    from zoo.images.decode import EncodedImage, read_file

    picture = EncodedImage(read_file(path), str(path)).decode(_reduction).image
    return ImageOps.contain(picture, (SIDE, SIDE))


def _reduction(width: int, height: int) -> int:
    """How many times smaller a JPEG may be decoded: still larger than its picture."""
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or max(width, height) // factor >= 2 * SIDE)
