"""What a network sees of an image: its crop or the whole, and its mirror image."""

import numpy as np
import pytest
import timm
from photos import crops
from PIL import Image

import zoo
from zoo.backbone import UnknownViewError
from zoo.features import fill
from zoo.features.mirror import Mirrored, UnknownTTAError
from zoo.features.spaces import BackboneSpace


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return sorted(crops(tmp_path_factory.mktemp("data"), n=3).rglob("*.png"))


def test_the_whole_image_is_resized_as_timm_does(tiny):
    whole = tiny.with_view("whole")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 120, 3), np.uint8))
    pixels = whole.preprocess(image)
    config = {**whole.config["pretrained_cfg"], "mean": (0, 0, 0), "std": (1, 1, 1)}
    config = timm.data.resolve_data_config({}, pretrained_cfg=config)
    theirs = timm.data.create_transform(**config, is_training=False)(image).numpy()
    assert pixels.shape == (*whole.preprocess.input_size, 3)
    assert np.array_equal(pixels, (255 * theirs).round().transpose(1, 2, 0))


def test_the_crop_is_what_it_was(tiny):
    assert tiny.with_view("crop") is tiny
    assert tiny.with_view("whole").identity["preprocess"] != tiny.identity["preprocess"]
    assert tiny.with_view("whole").identity["tensors_sha256"] == tiny.identity["tensors_sha256"]
    with pytest.raises(UnknownViewError, match="Choose from crop, whole"):
        tiny.with_view("middle")


@pytest.mark.parametrize("features", ["last", "stages"])
def test_mirror_averages_an_image_and_its_mirror_image(tiny, paths, features):
    space = BackboneSpace(tiny, "torch", features=features)
    pixels = np.zeros((32, *tiny.preprocess.input_size, 3), np.uint8)
    for i, path in enumerate(paths):
        pixels[i] = space.prepare(Image.open(path).convert("RGB"))
    expected = (space.run(pixels) + space.run(np.ascontiguousarray(pixels[:, :, ::-1]))) / 2
    found = zoo.extract(tiny, paths, engine="torch", features=features, tta="mirror")
    np.testing.assert_allclose(found.X, expected[: len(paths)], rtol=1e-5, atol=1e-5)
    plain = zoo.extract(tiny, paths, engine="torch", features=features)
    assert not np.allclose(found.X, plain.X)
    assert found.identity != plain.identity
    assert found.taps["last"].shape == plain.taps["last"].shape


def test_mirror_images_are_stored_beside_the_others(tiny, paths, monkeypatch):
    """So that neither with nor without them anything is computed twice."""
    zoo.extract(tiny, paths, engine="torch", features="stages", tta="mirror")
    monkeypatch.setattr(fill._Job, "_decode", None)  # would fail if it were called
    zoo.extract(tiny, paths, engine="torch", features="stages")
    zoo.extract(tiny, paths, engine="torch", tta="mirror")
    space = BackboneSpace(tiny, "torch", features="stages")
    assert [width for _, width in Mirrored(space).blocks] == [width for _, width in space.blocks]
    assert not [block for block in Mirrored(space).blocks if block in space.blocks]


def test_an_unknown_average_is_refused(tiny, paths):
    with pytest.raises(UnknownTTAError, match="Choose from none, mirror"):
        zoo.extract(tiny, paths, tta="flip")
