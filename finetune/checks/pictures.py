"""A contact sheet: many small images in one, with a caption below each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet"]

SIDE, CAPTION, COLUMNS = 128, 18, 8


def contact_sheet(pixels: NDArray[np.uint8], captions: Sequence[str]) -> Image.Image:
    """Lay images out in rows.

    Parameters
    ----------
    pixels : (n, height, width, 3) uint8 array
        The images.
    captions : sequence of str
        One for each; cut where it is too long.

    Returns
    -------
    PIL.Image.Image
        Of mode ``RGB``.
    """
    columns = min(COLUMNS, len(pixels))
    rows = -(-len(pixels) // columns)
    sheet = Image.new("RGB", (columns * SIDE, rows * (SIDE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (picture, caption) in enumerate(zip(pixels, captions, strict=True)):
        x, y = i % columns * SIDE, i // columns * (SIDE + CAPTION)
        small = Image.fromarray(picture)
        small.thumbnail((SIDE - 4, SIDE - 4))
        sheet.paste(small, (x + 2, y + 2))
        draw.text((x + 4, y + SIDE), _fitting(caption, font), "black", font)
    return sheet


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while text and font.getlength(text) > SIDE - 8:
        text = text[:-1]
    return text
