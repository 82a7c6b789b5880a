"""A network as a step of a scikit-learn pipeline."""

import pickle

import numpy as np
import pytest
from estimators import NO_MATRIX, images_of_rows
from networks import Zoo
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import zoo
from zoo.engines.taps import UnknownLayerError
from zoo.images.decode import UnreadableImage


class OfRows(zoo.FeatureExtractor):
    """Takes a matrix, as scikit-learn's checks give it, and makes an image of each row."""

    def fit(self, X, y=None):
        return super().fit(images_of_rows(X), y)

    def transform(self, X):
        return super().transform(images_of_rows(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.no_validation = False
        return tags


@pytest.fixture(scope="module")
def tiny(shared_cache, tmp_path_factory):
    """A small network for images of 64 x 64 pixels."""
    return Zoo(tmp_path_factory.mktemp("networks"))("test_efficientnet")


@pytest.fixture(autouse=True)
def the_tiny_network(tiny, monkeypatch):
    """Whatever the name: parameters of tests are made before there is a network."""
    monkeypatch.setattr("zoo.features.transformer.load", lambda name: tiny)


NOT_APPLICABLE = {**NO_MATRIX, "check_transformer_general": "tests rows of another length, which are images"}


@parametrize_with_checks([OfRows("tiny", engine="torch")], expected_failed_checks=lambda _: NOT_APPLICABLE)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture
def extractor(samples):
    """One for two photographs; every test of these has images of its own."""
    return zoo.FeatureExtractor("tiny", engine="torch").fit([samples / "china.jpg"])


@pytest.fixture
def parts(samples):
    with Image.open(samples / "china.jpg") as photo:
        return [photo.crop((i * 50, 40, i * 50 + 90, 130)) for i in range(8)]


def test_a_path_an_image_and_an_array_are_one_image(extractor, parts, tmp_path):
    parts[0].save(tmp_path / "a.png")
    given = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.open(tmp_path / "a.png"),
        np.asarray(parts[0]),
    ]
    X = extractor.transform(given)
    assert X.shape == (4, 256)
    assert all(np.array_equal(row, X[0]) for row in X)
    stacked = extractor.transform(np.stack([np.asarray(part) for part in parts[:2]]))
    assert np.array_equal(stacked[0], X[0])
    assert not np.array_equal(stacked[1], X[0])


def test_names_of_features_say_where_they_were_read(extractor, parts):
    assert extractor.get_feature_names_out()[[0, -1]].tolist() == ["last_0", "last_255"]
    two = clone(extractor).set_params(features=["blocks.1:max", "last"]).fit(parts)
    names = two.get_feature_names_out()
    assert len(names) == two.transform(parts).shape[1]
    assert (names[0], names[-1]) == ("blocks.1:max_0", "last_255")


def test_a_data_frame_on_request(extractor, parts):
    pandas = pytest.importorskip("pandas")
    frame = clone(extractor).set_output(transform="pandas").fit_transform(parts)
    assert isinstance(frame, pandas.DataFrame)
    assert frame.columns[0] == "last_0"


def test_a_copy_from_another_process_gives_the_same(extractor, parts):
    content = pickle.dumps(extractor)
    assert len(content) < 100_000  # no weights, no engine
    assert np.array_equal(pickle.loads(content).transform(parts), extractor.transform(parts))


def test_faults(extractor, tmp_path):
    with pytest.raises(NotFittedError):
        clone(extractor).transform(["a.jpg"])
    with pytest.raises(UnreadableImage, match="no such file"):
        extractor.transform([tmp_path / "gone.jpg"])
    with pytest.raises(UnknownLayerError, match="no layer"):
        clone(extractor).set_params(features="blocks.99").fit(["a.jpg"])
    with pytest.raises(TypeError, match="brackets"):
        extractor.transform("a.jpg")


def test_a_search_over_layers(extractor, parts):
    steps = Pipeline([("features", clone(extractor)), ("classifier", RidgeClassifier())])
    search = GridSearchCV(steps, {"features__features": ["last", "stages.2"]}, cv=2)
    search.fit(parts, [0, 1] * 4)
    assert set(search.best_params_) == {"features__features"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
