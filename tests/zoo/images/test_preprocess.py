"""From images to pixels: timm's own, also where a JPEG is decoded at a fraction of its size."""

import io
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo.images import decode as images
from zoo.images.decode import EncodedImage, UnreadableImage, open_image
from zoo.images.preprocess import Preprocess, raw_pixels, raw_reduction

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


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
    source = EncodedImage(content, "waves")
    picture = source.decode(preprocess.reduction)
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
    picture = EncodedImage(content, "china").decode(preprocess.reduction)
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
    source = EncodedImage(jpeg(waves(1100, 1100)), "waves")
    assert source.decode(Preprocess((224, 224)).reduction) is source.decode(raw_reduction)
    source.decode()
    assert decoded == [2, 1]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_in_full(form):
    picture = EncodedImage(encoded(waves(1100, 1100), form), "waves").decode(raw_reduction)
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
        picture = EncodedImage(content, "waves").decode(raw_reduction)
        assert (picture.image.size, picture.image.mode) == ((550, 550), "RGB")


def test_reducing_changes_no_error(monkeypatch):
    content = jpeg(waves(1100, 1100))
    with pytest.raises(UnreadableImage, match="truncated"):
        EncodedImage(content[: len(content) // 2], "photo").decode(raw_reduction)
    with pytest.raises(UnreadableImage, match="not an image"):
        EncodedImage(content[:3] + b"no more", "photo").decode(raw_reduction)
    monkeypatch.setattr(images, "MAX_PIXELS", 1100 * 1100 - 1)
    with pytest.raises(UnreadableImage, match="larger than"):
        EncodedImage(content, "photo").decode(raw_reduction)
