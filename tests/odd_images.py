"""Image files of every kind that people's folders hold, made by rule, each with what should become of it.

All that can be read show one picture, more or less exactly, so that a test can compare pixels.
"""

import base64
import io
import os
import socket
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, features

__all__ = ["KINDS", "OddImage", "make_all", "picture"]

#: What becomes of a file: an image like any other; named with a reason, and left out; not looked at.
READ, SKIPPED, IGNORED = "read", "skipped", "ignored"


@dataclass(frozen=True)
class OddImage:
    """One kind of file.

    Attributes
    ----------
    kind : str
        What it is, in some words; unique.
    name : str or bytes
        The file's name.
    make : callable
        Given the path, writes the file; raises OSError where this system cannot have such a file.
    outcome : str
        `READ`, `SKIPPED` or `IGNORED`.
    reason : str
        A part of the reason for which it is skipped.
    tolerance : int or None
        How far a pixel may be from the picture's; None where it shows something else.
    """

    kind: str
    name: str | bytes
    make: Callable[[Path], object]
    outcome: str = READ
    reason: str = ""
    tolerance: int | None = None


def picture(width=40, height=30):
    """The picture: red from left to right, green from top to bottom."""
    across, down = np.linspace(20, 220, width), np.linspace(20, 220, height)
    red, green = np.meshgrid(across, down)
    return Image.fromarray(np.stack([red, green, np.full_like(red, 120)], axis=2).astype(np.uint8))


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


#: Options of a JPEG that differs little from the picture.
FINE = {"quality": 95, "subsampling": 0}
JPEG = encoded(picture(), "JPEG", **FINE)
PNG = encoded(picture(), "PNG")


def content(data):
    return lambda path: path.write_bytes(data)


def saved(form, image=None, **options):
    return content(encoded(image or picture(), form, **options))


def frames(form):
    """An animation whose first frame is the picture."""
    more = [picture().transpose(Image.Transpose.ROTATE_180), Image.new("RGB", picture().size, "blue")]
    exact = {"lossless": True} if form == "WEBP" else {}
    return saved(form, save_all=True, append_images=more, **exact)


def png(bits, colour_type, rows):
    """A PNG of big-endian rows, for what Pillow does not write."""
    height, width = rows.shape[:2]
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    )


def bomb(side=20_000):
    """All of a PNG of that side but its pixels, which nobody should come to."""
    return png(1, 0, np.zeros((1, 1), np.uint8)).replace(_header(1, 1), _header(side, side))


def _header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return body + struct.pack(">I", zlib.crc32(body))


def grey(dtype=np.uint16):
    """The red channel, in more than 8 bits."""
    return np.asarray(picture())[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)


def cmyk():
    """What Photoshop writes: an Adobe marker, and values inverted."""
    return encoded(picture().convert("CMYK"), "JPEG", **FINE)


def without_adobe_marker(data):
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def ycck():
    """CMYK as luminance and chrominance: the same four channels, and the marker that says so."""
    negative = Image.eval(picture(), lambda value: 255 - value)
    luminance = 255 - np.asarray(negative.convert("YCbCr"))
    black = np.zeros((*luminance.shape[:2], 1), np.uint8)
    data = bytearray(encoded(Image.fromarray(np.concatenate([luminance, black], 2), "CMYK"), "JPEG", **FINE))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def exif(orientation):
    """The picture as a camera that was held otherwise stores it."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers of the reverse turns
    stored = picture() if orientation == 1 else picture().transpose(Image.Transpose(back[orientation]))
    data = Image.Exif()
    data[0x0112] = orientation
    return saved("JPEG", stored, **FINE, exif=data)


#: The picture as jpegtran -arithmetic writes it; Pillow reads such files and cannot write them.
ARITHMETIC = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00IF40RaI50RaI50s;a81OoyB0s;jD1Oo&H1qKEN1qKEN2MGuU2MGrT1_%oX2?`1d3JL}Y"
    "3k(Yi3<(Mf3jf;xLjeK;0s;a81p@;G3I_%U3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JU+p"
    "01*fP9sno<0TBQK5di}c0sqVZ3IGrg1pyEd1^?Or3<CiG0ucid06zf#0PP*(PXrka&DY86ed!f@zoDeeX?|oP1DCK_5MjoOhtAa|"
    "K^R?OmdxUt{$h-)=VbzQIr^H^^M#zI;9{p+zO6FUjLIx^b)*eSumi#Fx$U{Y>0u)!xQh@}ZbC6HDxvpC)^-r@E135$wNeZx0)JV&"
    "k{G5)_SvGV;M+RAC8a8v6N)MEbuIoiS4wmK7;vk8-j!?6a}zH&QIQ6%P62uyj%E4$NSdh9b^U@D#dLD#DkH};1ywXuVKOE=FC>Uc"
    "D~`cLjZQ@PcH*w~t2BdMFi_*?mdAZ6&ptRvGt#d5?>eKf@a<rng*7YyrsSprf+xuGl(h!BOg{WT|Je"
)


def damaged_exif():
    data = Image.Exif()
    data[0x010F] = "maker"
    whole = encoded(picture(), "JPEG", **FINE, exif=data)
    return whole.replace(b"MM\0*", b"MM\0*", 1).replace(b"\x00\x00\x00\x08", b"\xff\xff\xff\xf0", 1)


def with_transparency(mode):
    """The right half is transparent, so that white shows."""
    image = picture().convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (20, 0, 40, 30))
    image.putalpha(alpha)
    return image


def transparent_palette():
    image = Image.new("P", (40, 30), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return saved("PNG", image, transparency=1)


def symlink(target):
    def make(path):
        if target == "aside":
            aside = path.parent.parent.parent / "aside.png"
            aside.write_bytes(PNG)
            path.symlink_to(aside)
        else:
            path.symlink_to(target or path.name)

    return make


def pipe(path):
    os.mkfifo(path)


def listening(path):
    place = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have some hundred characters only
    try:
        place.bind(path.name)
    finally:
        os.chdir(here)
        place.close()


def device(path):
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: to read it never ends


def folder(path):
    path.mkdir()


def truncated(data, share):
    return content(data[: int(len(data) * share)])


def _kinds():
    read = [
        ("JPEG", "plain.jpg", content(JPEG), 8),
        ("PNG", "plain.png", content(PNG), 0),
        ("JPEG named .png", "jpeg.png", content(JPEG), 8),
        ("PNG named .jpg", "png.jpg", content(PNG), 0),
        ("no suffix", "photo", content(PNG), 0),
        ("capital suffix", "IMG_0001.JPG", content(JPEG), 8),
        ("CMYK JPEG, Adobe's, inverted", "cmyk.jpg", content(cmyk()), 12),
        ("CMYK JPEG without Adobe's marker", "cmyk2.jpg", content(without_adobe_marker(cmyk())), 12),
        ("YCCK JPEG", "ycck.jpg", content(ycck()), 12),
        ("progressive JPEG", "progressive.jpg", saved("JPEG", **FINE, progressive=True), 8),
        ("arithmetic JPEG", "arithmetic.jpg", content(ARITHMETIC), 8),
        ("JPEG with bytes behind its end", "behind.jpg", content(JPEG + b"\0" * 5000), 8),
        ("16-bit RGB PNG", "16.png", content(png(16, 2, np.asarray(picture()).astype(">u2") * 257)), 1),
        ("16-bit grey PNG", "16g.png", saved("PNG", Image.fromarray(grey())), None),
        ("16-bit grey TIFF", "16g.tif", saved("TIFF", Image.fromarray(grey())), None),
        ("float TIFF", "float.tif", saved("TIFF", Image.fromarray(grey(np.float32))), None),
        ("1-bit PNG", "1.png", saved("PNG", picture().convert("1")), None),
        ("1-bit fax TIFF", "fax.tif", saved("TIFF", picture().convert("1"), compression="group4"), None),
        ("palette", "palette.png", saved("PNG", picture().quantize(256)), 30),
        ("palette with transparency", "transparent.png", transparent_palette(), None),
        ("grey with alpha", "la.png", saved("PNG", with_transparency("L")), None),
        ("colour with alpha", "rgba.png", saved("PNG", with_transparency("RGB")), None),
        ("animated GIF", "animated.gif", frames("GIF"), 30),
        ("animated WebP", "animated.webp", frames("WEBP"), 0),
        ("animated PNG", "animated.png", frames("PNG"), 0),
        ("TIFF of several pages", "pages.tif", frames("TIFF"), 0),
        ("TIFF with LZW", "lzw.tif", saved("TIFF", compression="tiff_lzw"), 0),
        *((f"EXIF orientation {i}", f"exif{i}.jpg", exif(i), 8) for i in range(1, 9)),
        ("broken EXIF", "exif.jpg", content(damaged_exif()), 8),
        ("broken ICC profile", "icc.jpg", saved("JPEG", **FINE, icc_profile=b"\xffno profile" * 9), 8),
        ("1 x 10,000 pixels", "long.png", saved("PNG", picture(1, 10_000)), None),
        ("one pixel", "pixel.png", saved("PNG", Image.new("RGB", (1, 1), "red")), None),
        ("lossy WebP", "lossy.webp", saved("WEBP", quality=95), 20),
        ("lossless WebP", "lossless.webp", saved("WEBP", lossless=True), 0),
        ("BMP", "plain.bmp", saved("BMP"), 0),
        ("ICO", "plain.ico", saved("ICO", picture(32, 32)), None),
        ("JPEG 2000", "plain.jp2", saved("JPEG2000"), 2),
        ("PPM", "plain.ppm", saved("PPM"), 0),
        ("link to a file", "link.png", symlink("aside"), 0),
        ("name with blanks", " two  words .png", content(PNG), 0),
        ("name with a line break", "two\nlines.png", content(PNG), 0),
        ("name with quotes", "it's \"quoted\" `id` $(id).png", content(PNG), 0),
        ("name with markup", "<b>[bold]&amp;.png", content(PNG), 0),
        ("name with an escape sequence", "\x1b[31mred\x07.png", content(PNG), 0),
        ("emoji in the name", "\N{HONEYBEE}\N{ZERO WIDTH JOINER}\N{ANT}.png", content(PNG), 0),
        ("name that is not UTF-8", b"caf\xe9.png", content(PNG), 0),
        ("name of 255 bytes", "n" * 251 + ".png", content(PNG), 0),
        ("name like an option", "--out=x.png", content(PNG), 0),
        ("names that differ in case, 1", "twin.png", content(PNG), 0),
        ("names that differ in case, 2", "TWIN.PNG", content(PNG), 0),
    ]  # fmt: skip
    if features.check("avif"):
        read.append(("AVIF", "plain.avif", saved("AVIF", quality=95, subsampling="4:4:4"), 12))
    no_image = "not an image in a format we read"
    skipped = [
        ("JPEG without its end marker", "endless.jpg", content(JPEG[:-2]), "truncated"),
        *((f"JPEG cut at {s:.0%}", f"cut{i}.jpg", truncated(JPEG, s), "truncated" if s > 0.5 else "")
          for i, s in enumerate((0.01, 0.1, 0.3, 0.6, 0.9))),
        *((f"PNG cut at {s:.0%}", f"cut{i}.png", truncated(PNG, s), "")
          for i, s in enumerate((0.05, 0.2, 0.5, 0.8))),
        ("GIF cut in half", "cut.gif", truncated(encoded(picture(), "GIF"), 0.5), ""),
        ("WebP cut in half", "cut.webp", truncated(encoded(picture(), "WEBP"), 0.5), ""),
        ("TIFF cut in half", "cut.tif", truncated(encoded(picture(), "TIFF"), 0.5), ""),
        ("no bytes", "empty.jpg", content(b""), "empty file"),
        ("text named .jpg", "text.jpg", content(b"<!doctype html>404 not found"), no_image),
        ("wrong first bytes", "magic.jpg", content(b"\0\0\0\0" + JPEG[4:]), no_image),
        ("random bytes", "random.png", content(np.random.default_rng(0).bytes(5000)), no_image),
        ("20,000 x 20,000 pixels", "bomb.png", content(bomb()), "larger than 89 megapixels"),
        ("1 x 100,000 pixels", "thin.png", saved("PNG", picture(1, 100_000)), "too long and thin"),
        ("HEIC", "photo.heic", content(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 500), "HEIC"),
        ("SVG", "drawing.svg", content(b'<?xml version="1.0"?>\n<svg xmlns="x"/>'), "SVG"),
        ("PDF", "page.pdf", content(b"%PDF-1.7\n1 0 obj\n"), "PDF"),
        ("PostScript", "page.eps", content(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n"), "PostScript"),
        ("Photoshop", "layers.psd", content(b"8BPS\0\x01" + b"\0" * 100), "Photoshop"),
        ("video", "clip.mp4", content(b"\0\0\0\x20ftypisom" + b"\0" * 100), "video"),
        ("zip archive", "photos.zip", content(b"PK\x03\x04" + b"\0" * 100), no_image),
        ("dangling link", "gone.png", symlink("no such file.png"), "no such file"),
        ("link to itself", "loop.png", symlink(""), "symbolic links"),
    ]  # fmt: skip
    ignored = [
        ("empty folder named .jpg", "folder.jpg", folder),
        ("pipe", "pipe.jpg", pipe),
        ("socket", "socket.jpg", listening),
        ("device", "device.jpg", device),
        (".DS_Store", ".DS_Store", content(b"\0\0\0\x01Bud1")),
        ("Thumbs.db", "Thumbs.db", content(b"\xd0\xcf\x11\xe0")),
        ("macOS's ._ file", "._plain.jpg", content(b"\0\x05\x16\x07")),
        ("hidden image", ".hidden.png", content(PNG)),
    ]
    return (
        *(OddImage(kind, name, make, READ, tolerance=tolerance) for kind, name, make, tolerance in read),
        *(OddImage(kind, name, make, SKIPPED, reason=reason) for kind, name, make, reason in skipped),
        *(OddImage(kind, name, make, IGNORED) for kind, name, make in ignored),
    )


KINDS = _kinds()


def make_all(folder):
    """Write one file of each kind into a folder.

    Returns
    -------
    dict of str to (OddImage, Path)
        By kind; those that this system cannot have are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for odd in KINDS:
        path = folder / os.fsdecode(odd.name)
        try:
            odd.make(path)
        except OSError:
            continue
        made[odd.kind] = (odd, path)
    return made
