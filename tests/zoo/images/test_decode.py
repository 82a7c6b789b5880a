"""Opening images: every mode and orientation, and damaged or dishonest files."""

import contextlib
import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.images import decode as images
from zoo.images.decode import UnreadableImage, open_image, read_file

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixel(content, place=(0, 0)):
    image = open_image(content)
    assert image.mode == "RGB"
    return image.getpixel(place)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """Whatever the tag says, the picture comes out as Pillow's own reference turns it."""
    from PIL import ImageOps

    picture = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(np.asarray(open_image(content)), np.asarray(expected))


def test_modes_become_rgb():
    assert pixel(encoded(Image.new("L", (4, 4), 100))) == (100, 100, 100)
    assert pixel(encoded(Image.new("1", (4, 4), 1))) == (255, 255, 255)
    assert pixel(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))) == (255, 255, 255)  # over white
    assert pixel(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 255)))) == (255, 0, 0)
    assert pixel(encoded(Image.new("LA", (4, 4), (0, 128)))) == (127, 127, 127)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert pixel(encoded(palette)) == (10, 20, 30)
    assert pixel(encoded(palette, transparency=1)) == (255, 255, 255)
    r, g, b = pixel(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert r > 200
    assert g < 60
    assert b < 60


def test_sixteen_bits_are_scaled_not_clipped():
    grey = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(4, 4)
    image = open_image(encoded(Image.fromarray(grey)))
    assert np.array_equal(np.asarray(image)[..., 0], np.rint(grey / 257))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[100_000, 200_000, 300_000]], np.int32), [0, 128, 255]),  # stretched
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[70_000, 70_000, 70_000]], np.int32), [0, 0, 0]),  # flat: nothing to stretch
        (np.array([[np.nan, -np.inf, np.inf]], np.float32), [0, 0, 0]),
        (np.array([[0.0, np.nan, 1.0]], np.float32), [0, 0, 255]),
    ],
)
def test_wide_values_are_stretched(values, expected):
    image = open_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(image)[0, :, 0].tolist() == expected


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert pixel(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


def test_the_suffix_does_not_matter(tmp_path):
    path = tmp_path / "really-a-png.txt"
    Image.new("RGB", (3, 3), "lime").save(path, "PNG")
    assert open_image(path).getpixel((0, 0)) == (0, 255, 0)


PHOTO = (SAMPLES / "china.jpg").read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not an image in a format we read"),
        (PHOTO[: len(PHOTO) // 2], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image in a format we read"),
        (encoded(Image.new("RGB", (50, 50)))[:60], ""),
    ],
)
def test_what_is_no_image(tmp_path, content, reason):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as raised:
        open_image(path)
    assert reason in raised.value.reason
    assert str(path) in str(raised.value)
    assert raised.value.next_step


def test_missing_and_odd_files(tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        open_image(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableImage, match="not a regular file"):
        read_file(tmp_path)


def test_bombs_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="larger than"):
        open_image(encoded(Image.new("L", (11, 10))))
    assert open_image(encoded(Image.new("L", (10, 10)))).size == (10, 10)


def test_a_bomb_by_its_header(recwarn):
    """200,000 x 200,000 pixels in a file of some bytes: Pillow's own limits are turned into ours."""
    content = bytearray(encoded(Image.new("L", (1, 1))))
    content[16:24] = (200_000).to_bytes(4, "big") * 2
    with pytest.raises(UnreadableImage):
        open_image(bytes(content))
    assert not recwarn.list


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3000))
def test_damage_never_crashes(noise, place):
    """Bytes overwritten anywhere: an image or an UnreadableImage, nothing else."""
    content = bytearray(encoded(Image.new("RGB", (40, 30), "teal"), "JPEG"))
    place = place % len(content)
    content[place : place + len(noise)] = noise
    with contextlib.suppress(UnreadableImage):
        assert open_image(bytes(content)).mode == "RGB"


def test_pillow_says_nothing_beside_our_error(tmp_path):
    """100 megapixels by its header: more than Pillow's warning, less than its error."""
    content = bytearray(encoded(Image.new("L", (1, 1))))
    content[16:24] = (10_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path = tmp_path / "large.png"
    path.write_bytes(content)
    command = ["extract", "efficientnet_lite0", str(tmp_path), "-o", str(tmp_path / "o.npz")]
    done = subprocess.run([sys.executable, "-m", "zoo", *command], capture_output=True, text=True)
    assert done.stderr.splitlines()[0] == f"skipped {path}: larger than 89 megapixels"
    assert len(done.stderr.splitlines()) == 3  # and that there is no image
    assert done.returncode == 2


def test_a_library_call_leaves_warning_filters_alone():
    code = "import warnings, numpy, PIL.JpegImagePlugin; before = list(warnings.filters);"
    code += "import zoo.images.preprocess; print(before == list(warnings.filters))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"
