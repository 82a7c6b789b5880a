"""Images in memory stand for the files that they would be."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from zoo.images.decode import UnreadableImage, open_image, read_file
from zoo.images.memory import ImageInMemory, image_sources


def pixels(side=6, channels=3):
    return np.random.default_rng(0).integers(0, 256, (side, side + 1, channels), np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
def test_an_array_reads_as_its_file_does(tmp_path, channels):
    Image.fromarray(pixels(channels=channels)).save(tmp_path / "a.png")
    from_file = np.asarray(open_image(tmp_path / "a.png"))
    [array, image] = image_sources([pixels(channels=channels), Image.open(tmp_path / "a.png")])
    assert np.array_equal(np.asarray(open_image(array)), from_file)
    assert np.array_equal(np.asarray(open_image(image)), from_file)


def test_grey_and_turned_images(tmp_path):
    grey = pixels()[..., 0]
    for one in (grey, grey[..., None]):
        assert np.array_equal(np.asarray(open_image(ImageInMemory(one, "x")))[..., 2], grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(tmp_path / "turned.png", exif=exif)
    opened = ImageInMemory(Image.open(tmp_path / "turned.png"), "x")
    assert np.array_equal(np.asarray(open_image(opened)), np.asarray(open_image(tmp_path / "turned.png")))


def test_equal_pixels_have_equal_content():
    a, b = ImageInMemory(pixels(), "a"), ImageInMemory(Image.fromarray(pixels()), "b")
    assert hashlib.sha256(read_file(a)).digest() == hashlib.sha256(read_file(b)).digest()


class Column(list):
    """As data frames have them."""

    def to_numpy(self):
        return np.array(self, object)


def test_all_that_images_may_be_given_as():
    names = ["a.jpg", "b.jpg"]
    given = (names, tuple(names), np.array(names), np.array(names, object)[:, None], Column(names))
    assert all([str(source) for source in image_sources(X)] == names for X in given)
    assert len(image_sources(np.stack([pixels(), pixels()]))) == 2


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        ("a.jpg", TypeError, "brackets"),
        ([3], TypeError, "Image 0 is a int"),
        (np.eye(3), TypeError, "paths"),
        ([np.eye(3)], TypeError, "uint8"),
        ([pixels().transpose(2, 0, 1)], ValueError, "shape"),
        (np.array([["a.jpg", "b.jpg"]]), ValueError, "one column"),
        ([], ValueError, "0 samples"),
        ([pixels()[:0]], ValueError, "shape"),
    ],
)
def test_what_is_no_image_is_refused(X, error, words):
    with pytest.raises(error, match=words):
        image_sources(X)


def test_an_opened_file_that_is_damaged(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    [source] = image_sources([Image.open(tmp_path / "a.png")])
    with pytest.raises(UnreadableImage, match="image 0: truncated"):
        read_file(source)
