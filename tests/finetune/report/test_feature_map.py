"""The map of the features: near what is alike, fitted to training images, and read back as it was written."""

import json
import sys

import numpy as np
import pytest
from samples import clouds

from finetune.errors import OptionError, RunError
from finetune.report.feature_map import FILES, TILE, FeatureMap, feature_map, picture_sheet
from finetune.report.map_section import map_section
from finetune.runs import Prediction


def mapped(n=90, seed=0, held_out=None, **more):
    X, y = clouds(n, 8, 3, apart=4.0)
    names = [f"{i}.jpg" for i in range(n)]
    test = np.arange(0, n, 5) if held_out is None else held_out
    return X, y, test, *feature_map(X, names, y, test, "features of a network", seed=seed, **more)


@pytest.mark.parametrize("layout", ["pca", "tsne"])
def test_images_of_a_class_are_near_each_other(layout):
    _, y, test, found, rows = mapped(n=40, layout=layout)
    places = np.array([(p.x, p.y) for p in found.points])
    assert [p.label for p in found.points] == y[rows].tolist()
    assert {p.path for p in found.points if p.held_out} == {f"{i}.jpg" for i in test}
    means = np.array([places[y[rows] == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(places[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == y[rows]).mean() > 0.95


def test_held_out_images_do_not_move_the_others():
    X, y, test, found, _ = mapped()
    X[test] += 100 * np.random.default_rng(0).normal(size=(len(test), X.shape[1]))
    other, _ = feature_map(X, [f"{i}.jpg" for i in range(len(X))], y, test, "features")
    ours, theirs = ([(p.x, p.y) for p in m.points if not p.held_out] for m in (found, other))
    np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2)


def test_of_many_images_two_thousand_are_drawn_the_same_each_time():
    _, _, _, found, rows = mapped(n=6000, held_out=np.arange(1500))
    assert len(found.points) == len(rows) == 2000
    assert found.n_images == 6000
    assert sum(p.held_out for p in found.points) == 1000
    assert mapped(n=6000, held_out=np.arange(1500))[3] == found
    assert mapped(n=6000, held_out=np.arange(1500), seed=1)[3] != found


@pytest.mark.parametrize("X", [np.zeros((6, 4)), np.arange(6.0)[:, None], np.eye(6)[:, :2] * 1e-20])
def test_strange_features_have_a_map(X):
    found, _ = feature_map(
        X.astype(np.float32), list("abcdef"), np.arange(6) % 2, np.array([0, 1]), "features"
    )
    assert all(np.isfinite([p.x, p.y]).all() for p in found.points)


def test_a_map_is_read_back_as_it_was_written(tmp_path):
    _, _, _, found, _ = mapped()
    found.save(tmp_path, None)
    assert FeatureMap.load(tmp_path) == found
    assert FeatureMap.load(tmp_path / "nowhere") is None
    (tmp_path / FILES[0]).write_text('{"layout": "pca"}')
    with pytest.raises(RunError, match="cannot be read"):
        FeatureMap.load(tmp_path)


def test_pictures_stand_in_rows_in_their_own_shape():
    colours = np.repeat(np.linspace(0, 1, 5), 3072).reshape(5, -1)
    sheet = np.asarray(picture_sheet(colours, np.array([100, 100, 100, 100, 50]), np.full(5, 100)))
    assert sheet.shape == (2 * TILE, 3 * TILE, 3)
    assert sheet[TILE // 2, TILE // 2].tolist() == [0, 0, 0]
    assert sheet[TILE // 2, TILE + 5].tolist() == [64, 64, 64]
    assert sheet[TILE + TILE // 2, TILE + TILE // 2].tolist() == [255, 255, 255]
    assert sheet[TILE + TILE // 2, TILE + 2].tolist() == [128, 128, 128]  # beside a narrow image


def test_umap_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(OptionError, match="not installed"):
        mapped(layout="umap")
    with pytest.raises(OptionError, match="no map"):
        mapped(layout="som")


def test_the_section_marks_held_out_images_and_mistakes(tmp_path):
    _, _, test, found, _ = mapped()
    found.save(tmp_path, None)
    predictions = [Prediction(f"{i}.jpg", "a", "b", 0.9, False) for i in test[:4]]
    section = map_section(tmp_path, ["a", "b & <c>", "d"], predictions)
    assert section.svg.count(' held"') == len(test)
    assert section.svg.count('class="around"') == 4
    assert section.svg.count("data-i=") == 90
    assert "b &amp; &lt;c&gt;" in section.svg
    assert "held out, predicted as b" in section.svg
    assert json.loads(found.to_json())["explained"][0] > 0.2
