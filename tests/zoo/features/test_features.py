"""Features: the right numbers, in the right order, computed once."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.cache.folders import cache_folder
from zoo.engines import EngineError, build
from zoo.features import fill as filling
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace, RawPixels, Space
from zoo.features.store import FeatureStore
from zoo.images.decode import UnreadableImage


@pytest.fixture
def fresh_store(shared_cache):
    """Forget all features now, and again whenever called."""

    def forget():
        shutil.rmtree(cache_folder("features"), ignore_errors=True)

    forget()
    return forget


@pytest.fixture
def photos(tmp_path, samples):
    """Crops of a real photograph, all different."""
    whole = Image.open(samples / "china.jpg")
    paths = []
    for i in range(7):
        paths.append(tmp_path / f"{i}.png")
        whole.crop((i * 40, i * 10, i * 40 + 300, i * 10 + 260)).save(paths[-1])
    return paths


def reference(backbone, paths):
    """What timm itself makes of the images."""
    import timm
    import torch

    config = timm.data.resolve_data_config(backbone.config["pretrained_cfg"])
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        return backbone.module(batch).numpy()


def test_extract_keeps_the_order_and_shape(backbone, photos):
    features = zoo.extract(backbone, photos[::-1])
    assert features.X.shape == (7, 1280)
    assert features.X.dtype == np.float32
    assert features.paths == photos[::-1]
    np.testing.assert_allclose(features.X, reference(backbone, photos[::-1]), rtol=1e-3, atol=1e-4)
    assert np.asarray(features) is not None


def test_rows_do_not_depend_on_company(tiny, photos, fresh_store):
    """An image alone, in another order, or among others has the same bytes for features."""
    together = zoo.extract(tiny, photos).X
    fresh_store()
    alone = np.concatenate([zoo.extract(tiny, [path]).X for path in photos[::-1]])[::-1]
    assert np.array_equal(together, alone)


def test_nothing_is_computed_twice(tiny, photos, fresh_store, tmp_path):
    space = BackboneSpace(tiny)
    assert compute(photos[:5], [space]).computed == 5
    assert compute(photos, [space]).computed == 2
    copy = tmp_path / "copy.png"
    copy.write_bytes(photos[0].read_bytes())
    assert compute([copy, *photos], [space]).computed == 0  # known by content, not by name


def test_one_decode_serves_several_spaces(tiny, photos, fresh_store):
    found = compute(photos, [BackboneSpace(tiny), RawPixels()])
    assert [matrix.shape for matrix in found.matrices] == [(7, 256), (7, 3072)]
    assert found.matrices[1].min() >= 0
    assert found.matrices[1].max() <= 1


def test_bad_images_cost_only_themselves(tiny, photos, tmp_path, fresh_store, samples):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((samples / "china.jpg").read_bytes()[:5000])
    empty = tmp_path / "empty.jpg"
    empty.touch()
    asked = [broken, photos[0], empty, tmp_path / "absent.jpg", photos[1]]
    with pytest.raises(UnreadableImage):
        zoo.extract(tiny, asked)
    features = zoo.extract(tiny, asked, skip_unreadable=True)
    assert features.paths == [photos[0], photos[1]]
    assert sorted(features.skipped) == [0, 2, 3]
    assert "truncated" in features.skipped[0].reason
    assert np.array_equal(features.X, zoo.extract(tiny, photos[:2]).X)


def test_no_image_at_all(tiny):
    assert zoo.extract(tiny, []).X.shape == (0, 256)


def test_backbone_is_frozen_and_headless(backbone):
    assert not backbone.module.training
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())
    assert backbone.num_features == 1280
    assert backbone.stages[-1].reduction == 32
    assert backbone.entry.name == "efficientnet_lite0"
    assert backbone.preprocess.input_size == (224, 224)


def test_engine_and_precision_must_exist(backbone):
    with pytest.raises(EngineError, match="no engine 'warp'"):
        build(backbone, "warp")
    with pytest.raises(EngineError, match="no precision 'fp8'"):
        build(backbone, "torch", "fp8")


def test_transformer_is_a_pipeline_step(tiny, photos):
    from sklearn.base import clone
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    extractor = clone(zoo.FeatureExtractor(f"local-dir:{tiny.folder}"))
    pipeline = make_pipeline(extractor, KNeighborsClassifier(1)).fit(photos, list(range(7)))
    assert pipeline.predict(photos).tolist() == list(range(7))


@pytest.fixture
def large(tmp_path, samples):
    """A photograph so large that it is decoded at half its sides."""
    path = tmp_path / "large.jpg"
    whole = Image.open(samples / "flower.jpg")
    whole.resize((1700, 1135), Image.Resampling.LANCZOS).save(path, quality=92)
    return path


def test_exact_decoding_is_another_space(backbone, large, photos):
    asked = [large, *photos]
    reduced, exact = (zoo.extract(backbone, asked, exact_decoding=exact) for exact in (False, True))
    assert reduced.identity != exact.identity
    assert not np.array_equal(reduced.X[0], exact.X[0])
    a, b = reduced.X[0], exact.X[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999
    assert np.array_equal(reduced.X[1:], exact.X[1:])  # too small to be reduced: the same pixels
    np.testing.assert_allclose(exact.X, reference(backbone, asked), rtol=1e-3, atol=1e-4)


def test_rows_do_not_depend_on_what_else_is_computed(tiny, large, fresh_store):
    alone = compute([large], [BackboneSpace(tiny)]).matrices[0]
    fresh_store()
    spaces = [RawPixels(), BackboneSpace(tiny, exact_decoding=True), BackboneSpace(tiny)]
    assert np.array_equal(compute([large], spaces).matrices[2], alone)


def test_several_taps_in_one_pass(tiny, photos):
    found = zoo.extract(tiny, photos, features=["stages.2", "blocks.4", "last"], pool="max")
    assert {name: X.shape for name, X in found.taps.items()} == {
        "stages.2": (7, 32),
        "blocks.4": (7, 64),
        "last": (7, 256),
    }
    assert np.array_equal(np.concatenate(list(found.taps.values()), axis=1), found.X)
    assert np.array_equal(found.taps["last"], zoo.extract(tiny, photos).X)


def test_each_tap_is_stored_once(tiny, photos, fresh_store):
    stages = BackboneSpace(tiny, features="stages")
    everything = compute(photos[:5], [stages])
    assert everything.computed == 5
    last, early = BackboneSpace(tiny), BackboneSpace(tiny, features="blocks.1:max")
    for space, name in ((last, "last"), (early, "blocks.1:max")):
        found = compute(photos[:5], [space])
        assert (found.computed, space.engine_used) == (0, None)
        assert np.array_equal(found.matrices[0], stages.split(everything.matrices[0])[name])
    compute(photos, [last])
    assert compute(photos, [stages]).computed == 2
    sizes = [path.stat().st_size for path in cache_folder("features").glob("*/digests.bin")]
    assert sizes == [7 * 32] * (1 + 2 * 5)  # a row for each image in each store, and none twice


class Flipped(Space):
    """Mirror images, computed by another space's engine."""

    def __init__(self, space):
        self.base_space, self.width = space, space.width

    identity = property(lambda self: {**self.base_space.identity, "flipped": True})
    base = property(lambda self: self.base_space)

    def prepare(self, image, box=None):
        return np.ascontiguousarray(self.base_space.prepare(image, box)[:, ::-1])

    def run(self, batch):
        return self.base_space.run(batch)


def test_engines_are_told_how_much_there_is_to_do(tiny, photos, fresh_store):
    compute(photos[:3], [BackboneSpace(tiny)])
    space = BackboneSpace(tiny)
    compute([*photos, photos[0]], [space, RawPixels()])
    assert space.expected_images == 4  # three are stored, and one is there twice
    again = BackboneSpace(tiny)
    compute(photos, [again])
    assert again.expected_images == 0


def test_engines_are_told_of_images_that_are_prepared_differently(tiny, photos, fresh_store, monkeypatch):
    """Otherwise `auto` would never time engines for augmented views."""
    space, counts = BackboneSpace(tiny), []
    monkeypatch.setattr(
        "zoo.features.spaces.build", lambda *given: counts.append(given[3]) or build(tiny, "torch")
    )
    compute(photos, [Flipped(space), space])
    assert counts == [14]


def test_rows_come_in_pieces(tiny, photos, monkeypatch):
    whole = zoo.extract(tiny, photos).X
    monkeypatch.setattr(filling, "CHUNK", 3)
    extraction = compute(photos, [BackboneSpace(tiny)])
    pieces = list(extraction.rows())
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_damaged_row_whose_image_is_gone(tiny, photos, fresh_store):
    space = BackboneSpace(tiny)
    extraction = compute(photos, [space])
    path = extraction.stores[0].stores[0].folder / "rows.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    photos[0].unlink()
    with pytest.raises(UnreadableImage, match="no such file"):
        list(extraction.rows())


# The store


def digest(i):
    return hashlib.sha256(bytes([i])).hexdigest()


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return FeatureStore({"model": "m"}, 3)


def rows(*values):
    return np.array([[v, v, v] for v in values], np.float32)


def test_store_gives_back_what_it_got(store):
    store.add([digest(1), digest(2)], rows(1, 2))
    again = FeatureStore({"model": "m"}, 3)
    assert again.missing([digest(1), digest(2), digest(3)]) == {digest(3)}
    assert np.array_equal(again.take([digest(2), digest(1), digest(2)]), rows(2, 1, 2))
    assert FeatureStore({"model": "other"}, 3).missing([digest(1)]) == {digest(1)}


@pytest.mark.parametrize("lost", [1, 10, 15])
def test_store_survives_a_torn_tail(store, lost):
    store.add([digest(1), digest(2), digest(3)], rows(1, 2, 3))
    for name in ("digests.bin", "rows.bin"):
        path = store.folder / name
        path.write_bytes(path.read_bytes()[:-lost])
        again = FeatureStore({"model": "m"}, 3)
        lacking = again.missing([digest(i) for i in (1, 2, 3)])
        assert digest(1) not in lacking
        again.add(
            sorted(lacking),
            np.concatenate([rows(i) for d in sorted(lacking) for i in (1, 2, 3) if digest(i) == d]),
        )
        assert np.array_equal(
            FeatureStore({"model": "m"}, 3).take([digest(i) for i in (1, 2, 3)]), rows(1, 2, 3)
        )


def test_a_damaged_record_is_computed_anew(tiny, photos, fresh_store):
    space = BackboneSpace(tiny)
    first = compute(photos, [space])
    assert first.matrices[0].shape == (7, 256)
    path = FeatureStore(space.identity, space.width).folder / "rows.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    second = compute(photos, [space])
    assert np.array_equal(first.matrices[0], second.matrices[0])
    assert second.computed == 1
    assert compute(photos, [space]).computed == 0


def test_two_writers_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    code = """
import sys, hashlib, numpy as np
from zoo.features.spaces import BackboneSpace, RawPixels, Space
from zoo.features.store import FeatureStore
store = FeatureStore({"model": "m"}, 50)
for i in range(int(sys.argv[1]), 200, 2):
    store.add([hashlib.sha256(b"%d" % i).hexdigest()], np.full((1, 50), i, np.float32))
"""
    workers = [subprocess.Popen([sys.executable, "-c", code, str(start)]) for start in (0, 1)]
    assert [worker.wait() for worker in workers] == [0, 0]
    store = FeatureStore({"model": "m"}, 50)
    digests = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(200)]
    assert not store.missing(digests)
    assert np.array_equal(store.take(digests)[:, 0], np.arange(200, dtype=np.float32))


def test_a_second_extraction_needs_neither_torch_nor_timm(tiny, photos):
    zoo.extract(tiny, photos)
    code = f"""
import sys, json, zoo
print(zoo.extract("local-dir:{tiny.folder}", {[str(p) for p in photos]!r}).X.shape)
print(json.dumps([m for m in ("torch", "timm", "sklearn", "openvino") if m in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shape, loaded = done.stdout.splitlines()
    assert shape == "(7, 256)"
    assert json.loads(loaded) == []
