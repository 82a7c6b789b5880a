"""Features: the right numbers, in the right order, computed once."""

import hashlib
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

import zoo
from zoo.engines import BATCH, ENGINES, EngineError, build
from zoo.features import fill as filling
from zoo.features.extract import compute
from zoo.features.fill import fill
from zoo.features.spaces import BackboneSpace, RawPixels
from zoo.features.store import FeatureStore
from zoo.images.decode import UnreadableImage

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"


@pytest.fixture(scope="module")
def backbone():
    return zoo.load("efficientnet_lite0")


@pytest.fixture
def fresh_store(shared_cache):
    """Forget all features now, and again whenever called."""

    def forget():
        shutil.rmtree(shared_cache / "features", ignore_errors=True)

    forget()
    return forget


@pytest.fixture
def photos(tmp_path):
    """Crops of a real photograph, all different."""
    whole = Image.open(SAMPLES / "china.jpg")
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


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_timms_features(backbone, photos, engine):
    if not all(find_spec(p) for p in ENGINES[engine]):
        pytest.skip(f"{engine} is not installed")
    space = BackboneSpace(backbone, engine)
    pixels = np.zeros((BATCH, 224, 224, 3), np.uint8)
    for i, path in enumerate(photos):
        pixels[i] = space.prepare(Image.open(path).convert("RGB"))
    expected = reference(backbone, photos)
    np.testing.assert_allclose(space.run(pixels)[: len(photos)], expected, rtol=1e-3, atol=1e-4)


def test_extract_keeps_the_order_and_shape(backbone, photos):
    features = zoo.extract(backbone, photos[::-1])
    assert features.X.shape == (7, 1280)
    assert features.X.dtype == np.float32
    assert features.paths == photos[::-1]
    np.testing.assert_allclose(features.X, reference(backbone, photos[::-1]), rtol=1e-3, atol=1e-4)
    assert np.asarray(features) is not None


def test_rows_do_not_depend_on_company(backbone, photos, fresh_store):
    """An image alone, in another order, or among others has the same bytes for features."""
    together = zoo.extract(backbone, photos).X
    fresh_store()
    alone = np.concatenate([zoo.extract(backbone, [path]).X for path in photos[::-1]])[::-1]
    assert np.array_equal(together, alone)


def test_nothing_is_computed_twice(backbone, photos, fresh_store, tmp_path):
    space = BackboneSpace(backbone)
    assert compute(photos[:5], [space]).computed == 5
    assert compute(photos, [space]).computed == 2
    copy = tmp_path / "copy.png"
    copy.write_bytes(photos[0].read_bytes())
    assert compute([copy, *photos], [space]).computed == 0  # known by content, not by name


def test_one_decode_serves_several_spaces(backbone, photos, fresh_store):
    found = compute(photos, [BackboneSpace(backbone), RawPixels()])
    assert [matrix.shape for matrix in found.matrices] == [(7, 1280), (7, 3072)]
    assert found.matrices[1].min() >= 0
    assert found.matrices[1].max() <= 1


def test_bad_images_cost_only_themselves(backbone, photos, tmp_path, fresh_store):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((SAMPLES / "china.jpg").read_bytes()[:5000])
    empty = tmp_path / "empty.jpg"
    empty.touch()
    asked = [broken, photos[0], empty, tmp_path / "absent.jpg", photos[1]]
    with pytest.raises(UnreadableImage):
        zoo.extract(backbone, asked)
    features = zoo.extract(backbone, asked, skip_unreadable=True)
    assert features.paths == [photos[0], photos[1]]
    assert sorted(features.skipped) == [0, 2, 3]
    assert "truncated" in features.skipped[0].reason
    assert np.array_equal(features.X, zoo.extract(backbone, photos[:2]).X)


def test_no_image_at_all(backbone):
    assert zoo.extract(backbone, []).X.shape == (0, 1280)


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


def test_transformer_is_a_pipeline_step(backbone, photos):
    from sklearn.base import clone
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    extractor = clone(zoo.FeatureExtractor("efficientnet_lite0"))
    pipeline = make_pipeline(extractor, KNeighborsClassifier(1)).fit(photos, list(range(7)))
    assert pipeline.predict(photos).tolist() == list(range(7))


@pytest.fixture
def large(tmp_path):
    """A photograph so large that it is decoded at half its sides."""
    path = tmp_path / "large.jpg"
    whole = Image.open(SAMPLES / "flower.jpg")
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


def test_rows_do_not_depend_on_what_else_is_computed(backbone, large, fresh_store):
    alone = compute([large], [BackboneSpace(backbone)]).matrices[0]
    fresh_store()
    spaces = [RawPixels(), BackboneSpace(backbone, exact_decoding=True), BackboneSpace(backbone)]
    assert np.array_equal(compute([large], spaces).matrices[2], alone)


def test_several_layers_in_one_pass(backbone, photos):
    found = zoo.extract(backbone, photos, layers=["stages.2", "blocks.4", "features"], pool="max")
    assert {name: X.shape for name, X in found.layers.items()} == {
        "stages.2": (7, 40),
        "blocks.4": (7, 112),
        "features": (7, 1280),
    }
    assert np.array_equal(np.concatenate(list(found.layers.values()), axis=1), found.X)
    alone = zoo.extract(backbone, photos)
    np.testing.assert_allclose(found.layers["features"], alone.layers["features"], rtol=1e-3, atol=1e-4)


def test_engines_hear_how_much_there_is_to_do(backbone, photos, fresh_store):
    compute(photos[:3], [BackboneSpace(backbone)])
    space = BackboneSpace(backbone)
    compute([*photos, photos[0]], [space, RawPixels()])
    assert space.expected_images == 7  # of which RawPixels lacks all
    again = BackboneSpace(backbone)
    compute(photos, [again])
    assert again.expected_images == 0


def test_rows_come_in_pieces(backbone, photos, monkeypatch):
    whole = zoo.extract(backbone, photos).X
    monkeypatch.setattr(filling, "CHUNK", 3)
    filled = fill(photos, [BackboneSpace(backbone)])
    pieces = list(filled.rows())
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_damaged_row_whose_image_is_gone(backbone, photos, fresh_store):
    space = BackboneSpace(backbone)
    filled = fill(photos, [space])
    path = filled.stores[0].folder / "rows.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    photos[0].unlink()
    with pytest.raises(UnreadableImage, match="no such file"):
        list(filled.rows())


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


def test_a_damaged_record_is_computed_anew(backbone, photos, fresh_store):
    space = BackboneSpace(backbone)
    first = compute(photos, [space])
    path = FeatureStore(space.identity, space.width).folder / "rows.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    second = compute(photos, [space])
    assert second.computed == 1
    assert np.array_equal(first.matrices[0], second.matrices[0])
    assert compute(photos, [space]).computed == 0


def test_two_writers_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    code = """
import sys, hashlib, numpy as np
from zoo.features.spaces import BackboneSpace, RawPixels
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


def test_a_second_extraction_needs_neither_torch_nor_timm(backbone, photos):
    zoo.extract(backbone, photos)
    code = f"""
import sys, json, zoo
print(zoo.extract("efficientnet_lite0", {[str(p) for p in photos]!r}).X.shape)
print(json.dumps([m for m in ("torch", "timm", "sklearn", "openvino") if m in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shape, loaded = done.stdout.splitlines()
    assert shape == "(7, 1280)"
    assert json.loads(loaded) == []
