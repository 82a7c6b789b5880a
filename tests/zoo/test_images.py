"""Opening images: every mode and orientation, nothing that lies, and timm's own pixels."""

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
from zoo.images.decode import (
    Preprocess,
    Source,
    UnreadableImage,
    open_image,
    raw_pixels,
    raw_reduction,
    read_file,
)

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


CONFIGS = [
    {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"},
    {"input_size": (3, 224, 224), "interpolation": "bilinear", "crop_pct": 0.95, "crop_mode": "center"},
    {"input_size": (3, 288, 288), "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center"},
    {"input_size": (3, 176, 200), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"},
    {"input_size": (3, 128, 128), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "squash"},
    {"input_size": (3, 128, 128), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "border"},
]


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: f"{c['input_size'][1:]}-{c['crop_mode']}-{c['crop_pct']}"
)
@pytest.mark.parametrize("size", [(640, 427), (427, 640), (100, 333), (224, 224), (1001, 250)])
def test_pixels_are_timms(config, size):
    from timm.data import create_transform

    full = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), **config}
    transform = create_transform(**full, is_training=False)
    photo = Image.open(SAMPLES / "flower.jpg").resize(size)
    theirs = transform(photo).numpy().transpose(1, 2, 0)
    pixels = Preprocess.from_config(full)(photo)
    ours = (pixels / np.float32(255) - np.float32(full["mean"])) / np.float32(full["std"])
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_key_tells_preprocessing_apart():
    keys = {Preprocess.from_config(config).key for config in CONFIGS}
    assert len(keys) == len(CONFIGS)
    assert Preprocess.from_config(CONFIGS[0]).key == Preprocess.from_config(dict(CONFIGS[0])).key


def test_impossible_preprocessing():
    with pytest.raises(ValueError, match="interpolation"):
        Preprocess((224, 224), interpolation="guess")
    with pytest.raises(ValueError, match="crop_mode"):
        Preprocess((224, 224), crop_mode="trim")
    with pytest.raises(UnreadableImage, match="thin"):
        Preprocess((224, 224))(Image.new("RGB", (1, 600_000)))


def test_raw_pixels():
    assert raw_pixels(Image.new("RGB", (100, 70), (9, 8, 7))).shape == (32, 32, 3)
    halves = Image.new("RGB", (64, 64), "black")
    halves.paste("white", (32, 0, 64, 64))
    assert raw_pixels(halves)[:, :16].max() == 0
    assert raw_pixels(halves)[:, 16:].min() == 255


# Reduced decoding


def waves(width, height, count=10):
    """A picture of which every shift shows: `count` waves over its short side, in both directions."""
    x, y = np.arange(width) / min(width, height), np.arange(height)[:, None] / min(width, height)
    grey = 128 + 60 * np.sin(2 * np.pi * count * x) + 60 * np.sin(2 * np.pi * count * y)
    return Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1).astype(np.uint8))


def jpeg(image, orientation=1, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", quality=95, subsampling=0, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [256, 140, 71])  # decoded at 1/2, 1/4 and 1/8
def test_a_reduced_picture_is_turned_and_not_shifted(orientation, side):
    preprocess = Preprocess((side, side), crop_pct=1.0)
    content = jpeg(waves(1143, 1217, side // 10), orientation)
    source = Source(content, "waves")
    picture = source.picture(preprocess.reduction)
    whole = open_image(content)
    factor = preprocess.reduction(*whole.size)
    assert factor == {256: 2, 140: 4, 71: 8}[side]
    assert picture.image.size == tuple(-(-length // factor) for length in whole.size)
    left, top, right, bottom = picture.box
    assert (right - left, bottom - top) == (whole.width / factor, whole.height / factor)
    reduced, exact = preprocess(picture.image, picture.box), preprocess(whole)
    difference = np.abs(reduced.astype(int) - exact)
    assert difference.mean() < 1
    shifted = np.abs(preprocess(picture.image).astype(int) - exact)  # as it is without the box
    assert difference.max() < shifted.max()


def test_photographs_stay_what_they_are():
    photo = Image.open(SAMPLES / "china.jpg")
    content = encoded(photo.resize((1920, 1281), Image.Resampling.LANCZOS), "JPEG", quality=90)
    preprocess = Preprocess((224, 224))
    picture = Source(content, "china").picture(preprocess.reduction)
    assert picture.image.size == (960, 641)
    reduced = preprocess(picture.image, picture.box)
    difference = np.abs(reduced.astype(int) - preprocess(open_image(content)))
    assert difference.mean() < 0.5
    raw = np.abs(raw_pixels(picture.image, picture.box).astype(int) - raw_pixels(open_image(content)))
    assert raw.mean() < 1


@pytest.mark.parametrize(
    ("size", "mode", "factor"),
    [
        ((1023, 4000), "center", 1),  # half of the short side would be less than twice 256
        ((1024, 1024), "center", 2),
        ((4000, 3000), "center", 4),
        ((6000, 4096), "center", 8),
        ((60_000, 300), "center", 1),
        ((2048, 1024), "squash", 2),
        ((4000, 500), "squash", 1),
        ((4000, 500), "border", 4),  # the long side is resized to 256, the short one to 32
    ],
)
def test_how_small_a_picture_may_be(size, mode, factor):
    preprocess = Preprocess((224, 224), crop_mode=mode)
    assert preprocess.reduction(*size) == preprocess.reduction(*size[::-1]) == factor


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(32, 600), st.sampled_from([0.875, 0.95, 1.0]))
def test_twice_the_resized_size_remains(width, height, side, crop_pct):
    preprocess = Preprocess((side, side), crop_pct=crop_pct)
    factor = preprocess.reduction(width, height)
    new_width, new_height = preprocess._resized_size(width, height)
    if factor > 1:
        assert width >= 2 * factor * new_width
        assert height >= 2 * factor * new_height
        # The resized size is the same to the pixel, whatever the scale.
        assert preprocess._resized_size(width / factor, height / factor) == (new_width, new_height)


def test_one_decoding_for_each_scale(monkeypatch):
    decoded = []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda *given: decoded.append(given[2]) or decode(*given))
    source = Source(jpeg(waves(1100, 1100)), "waves")
    assert source.picture(Preprocess((224, 224)).reduction) is source.picture(raw_reduction)
    source.picture()
    assert decoded == [2, 1]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_in_full(form):
    picture = Source(encoded(waves(1100, 1100), form), "waves").picture(raw_reduction)
    assert picture.image.size == (1100, 1100)
    assert picture.box == (0, 0, 1100, 1100)


def test_kinds_of_jpeg_are_reduced():
    big = waves(1100, 1100)
    frames = {"save_all": True, "append_images": [big]}
    for content in (
        encoded(big, "MPO", **frames),
        encoded(big.convert("L"), "JPEG"),
        encoded(big.convert("CMYK"), "JPEG"),
        encoded(big, "JPEG", progressive=True),
    ):
        picture = Source(content, "waves").picture(raw_reduction)
        assert (picture.image.size, picture.image.mode) == ((550, 550), "RGB")


def test_reducing_changes_no_error(monkeypatch):
    content = jpeg(waves(1100, 1100))
    with pytest.raises(UnreadableImage, match="truncated"):
        Source(content[: len(content) // 2], "photo").picture(raw_reduction)
    with pytest.raises(UnreadableImage, match="not an image"):
        Source(content[:3] + b"no more", "photo").picture(raw_reduction)
    monkeypatch.setattr(images, "MAX_PIXELS", 1100 * 1100 - 1)
    with pytest.raises(UnreadableImage, match="larger than"):
        Source(content, "photo").picture(raw_reduction)


def test_pillow_says_nothing_beside_our_error(tmp_path):
    """100 megapixels by its header: more than Pillow's warning, less than its error."""
    content = bytearray(encoded(Image.new("L", (1, 1))))
    content[16:24] = (10_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path = tmp_path / "large.png"
    path.write_bytes(content)
    code = f"""
from zoo.images.decode import UnreadableImage, open_image
try:
    open_image({str(path)!r})
except UnreadableImage as error:
    print(error.reason)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "larger than 89 megapixels\n"
    assert done.stderr == ""
