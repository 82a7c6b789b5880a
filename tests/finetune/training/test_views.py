"""Views of images: what they look like, and that nothing but seed, epoch and row decides."""

import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import labelled
from photos import crops
from PIL import Image

from finetune.training.augment import LEVELS, Augment
from finetune.training.sources import ImageSource, batches

RANDOM = [level for level in LEVELS if LEVELS[level]]

SHAPES = {"wide": (300, 20), "high": (20, 300), "tiny": (2, 3), "one pixel": (1, 1), "square": (90, 90)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=5)


@pytest.fixture
def preprocess(backbone):
    return backbone.preprocess


@pytest.fixture(scope="module")
def backbone(small_networks):
    return small_networks("test_resnet")


def source(photos, preprocess, level="light", seed=0, limit=10**9):
    return ImageSource(labelled(photos)[0], preprocess, Augment.from_level(level), seed, limit)


def noise(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("level", RANDOM)
def test_views_of_any_image_have_the_size_asked_for(level, shape):
    for seed in range(20):
        view = Augment.from_level(level)(noise(*shape), (32, 48), np.random.default_rng(seed))
        assert view.shape == (32, 48, 3)
        assert view.dtype == np.uint8


@pytest.mark.parametrize("level", RANDOM)
def test_a_view_is_a_function_of_its_chance(level):
    augment = Augment.from_level(level)
    one, two, other = (augment(noise(90, 70), (32, 32), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).mean() > 0.5


@pytest.mark.parametrize("level", RANDOM)
@pytest.mark.parametrize("shape", [(100, 100), (400, 100)])
def test_views_show_the_share_of_the_area_that_they_should(level, shape):
    augment = Augment.from_level(level)
    rng = np.random.default_rng(0)
    boxes = np.array([augment._box(*shape, rng) for _ in range(500)])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= np.array(shape) + 1e-9).all()
    assert (across * down <= augment.scale[1] * shape[0] * shape[1] + 1e-6).all()
    if shape[0] == shape[1]:
        assert (across * down).min() > 0.85 * augment.scale[0] * shape[0] * shape[1]


def left_is_dark(seed, hflip):
    """Whether a image that grows brighter to the right still does."""
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None], 64, 0)
    view = Augment.from_level("strong", hflip)(
        Image.fromarray(ramp).convert("RGB"), (32, 32), np.random.default_rng(seed)
    )
    return view[:, :8].mean() < view[:, -8:].mean()


def test_every_other_view_is_mirrored_and_none_where_that_is_asked_for():
    assert all(left_is_dark(seed, hflip=False) for seed in range(60))
    assert 15 < sum(left_is_dark(seed, hflip=True) for seed in range(60)) < 45


def test_without_augmentation_images_are_as_for_evaluation(photos, preprocess):
    images = source(photos, preprocess, "none")
    rows = np.arange(len(images))
    assert torch.equal(images.batch(rows, 3), images.batch(rows, None))
    assert torch.equal(images.batch(rows, None), source(photos, preprocess, "strong").batch(rows, None))


def test_evaluation_images_are_the_preprocessed_ones_but_for_rounding(photos, preprocess):
    """Large images are kept no larger than is needed, which costs a level of 255 or so."""
    paths, _ = labelled(photos)
    given = source(photos, preprocess).batch(np.arange(3), None)
    for path, x in zip(paths, given, strict=False):
        pixels = preprocess(Image.open(path).convert("RGB")) / 255
        wanted = (pixels - np.array(preprocess.mean)) / np.array(preprocess.std)
        assert np.abs(x.permute(1, 2, 0).numpy() - wanted).mean() < 1.5 / 255 / min(preprocess.std)


@pytest.mark.parametrize("limit", [0, 50_000], ids=["none kept", "one kept"])
def test_images_that_do_not_fit_into_memory_are_read_anew_and_the_same(photos, preprocess, limit):
    kept, partly = source(photos, preprocess), source(photos, preprocess, limit=limit)
    rows = np.arange(len(kept))
    for epoch in (None, 0, 1):
        assert torch.equal(kept.batch(rows, epoch), partly.batch(rows, epoch))


def test_views_differ_by_seed_epoch_and_row_and_by_nothing_else(photos, preprocess):
    one, other = source(photos, preprocess), source(photos, preprocess, seed=1)
    rows = np.arange(len(one))
    x = one.batch(rows, 0)
    assert torch.equal(x, source(photos, preprocess).batch(rows, 0))
    assert torch.equal(x.flip(0), one.batch(rows[::-1].copy(), 0))
    assert torch.equal(x[3:4], one.batch(np.array([3]), 0))
    assert not torch.equal(x, one.batch(rows, 1))
    assert not torch.equal(x, other.batch(rows, 0))


def test_threads_that_dawdle_change_nothing(photos, preprocess):
    plain = source(photos, preprocess)
    chunks = np.array_split(np.random.default_rng(0).permutation(len(plain)), 5)

    class Dawdles:
        def batch(self, rows, epoch):
            time.sleep(random.uniform(0, 0.02))
            return plain.batch(rows, epoch)

    wanted = [plain.batch(rows, 2) for rows in chunks]
    for _ in range(3):
        given = list(batches(Dawdles(), chunks, 2))
        assert all(torch.equal(a, b) for a, b in zip(given, wanted, strict=True))


def test_the_first_epochs_may_be_smaller_and_evaluation_never_is(photos, preprocess):
    for level in ("light", "none"):
        images = ImageSource(labelled(photos)[0], preprocess, Augment.from_level(level), 0, 10**9, (2, 32))
        rows = np.arange(2)
        assert [images.batch(rows, epoch).shape[-1] for epoch in (0, 1, 2, None)] == [32, 32, 64, 64]


@pytest.fixture
def noisy(tmp_path, preprocess):
    """Four images of different sizes, and how a network of 320 pixels a side wants them."""
    paths = []
    for i, side in enumerate((100, 150, 150, 400)):
        noise(side, side + 40).save(path := tmp_path / f"{i}.png")
        paths.append(path)
    return paths, replace(preprocess, input_size=(320, 320))


def test_images_are_not_enlarged_beyond_what_they_show(noisy, preprocess):
    paths, large = noisy
    assert ImageSource(paths, large, None, 0, 10**9).useful_side() == 160
    assert ImageSource(paths[:1], large, None, 0, 10**9).useful_side() == 128
    assert ImageSource(paths[3:], large, None, 0, 10**9).useful_side() == 320
    assert ImageSource(paths, preprocess, None, 0, 10**9).useful_side() == preprocess.input_size[0]


@pytest.mark.parametrize("limit", [0, 40_000, 10**9])
def test_their_size_does_not_depend_on_free_memory(limit, noisy):
    paths, large = noisy
    assert ImageSource(paths[::-1], large, None, 0, limit).useful_side() == 160


def test_a_larger_size_is_read_in_full_detail(tmp_path, preprocess):
    """An image of 600 pixels for a network of 64, trained at 320: not enlarged from what 64 would need."""
    noise(600, 600).save(path := tmp_path / "one.png")
    large = replace(preprocess, input_size=(320, 320))
    wanted = large(Image.open(path)).astype(float)
    mean, std = (np.array(v) for v in (preprocess.mean, preprocess.std))

    def error(source):
        """How far the image is from the one that is computed from the file."""
        x = source.batch(np.arange(1), None)[0].permute(1, 2, 0).numpy()
        return np.abs((x * std + mean) * 255 - wanted).mean()

    assert error(ImageSource([path], large, None, 0, 10**9)) < 6
    larger_first = ImageSource([path], preprocess, None, 0, 10**9, (1, 320))
    x = larger_first.batch(np.arange(1), 0)[0].permute(1, 2, 0).numpy()
    assert np.abs((x * std + mean) * 255 - wanted).mean() < 6
    assert error(ImageSource([path], preprocess, None, 0, 10**9).resized(320)) > 20  # such noise is lost
