"""The strategies as a scikit-learn estimator."""

import pickle

import numpy as np
import pytest
import sklearn
from estimators import NO_MATRIX, images_of_rows
from photos import SHARED, crops, needs_photographs
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import finetune
import zoo
from finetune.errors import OptionError
from finetune.runs import read_predictions
from zoo.images.decode import UnreadableImage


class OfRows(finetune.ImageClassifier):
    """Takes a matrix, as scikit-learn's checks give it, and makes an image of each row."""

    def fit(self, X, y, groups=None):
        return super().fit(images_of_rows(X), y, groups)

    def _scores(self, X):
        return super()._scores(images_of_rows(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.no_validation = False
        return tags


NOT_APPLICABLE = {**NO_MATRIX, "check_classifiers_train": "tests rows of another length, which are images"}

#: On 32 x 32 pixels, so that no network is needed, and two folds, for it is fitted some hundred times.
ON_PIXELS = OfRows("raw-knn", cv=2)


@parametrize_with_checks([ON_PIXELS], expected_failed_checks=lambda _: NOT_APPLICABLE)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def model(network):
    """The name of a small network."""
    return f"local-dir:{network.folder}"


@pytest.fixture(scope="module")
def photos(network, tmp_path_factory):
    folder = crops(tmp_path_factory.mktemp("data") / "photos")
    zoo.extract(network, list(folder.rglob("*.png")), engine="torch")  # one batch, instead of one a fold
    return folder


@pytest.fixture(scope="module")
def labelled(photos):
    """Paths and class names of 24 parts of two photographs, and groups of three of them."""
    paths = sorted(photos.rglob("*.png"))
    return paths, [path.parent.name for path in paths], [f"{p.parent.name}{int(p.stem) // 3}" for p in paths]


def test_it_is_the_classifier_of_the_command(photos, model, tmp_path):
    run = finetune.fit(data=photos, model=model, engine="torch", out=tmp_path / "run")
    held_out = [photos / row.path for row in read_predictions(run.path)]
    train = [
        path for name in ("china", "flower") for path in _in_order(photos / name) if path not in held_out
    ]
    classifier = finetune.ImageClassifier("probe", model, engine="torch")
    classifier.fit(train, [path.parent.name for path in train])
    assert classifier.choice_["l2"] == run.choice["l2"]
    expected = finetune.load(run.path, engine="torch").predict_proba(held_out)
    np.testing.assert_allclose(classifier.predict_proba(held_out), expected, atol=1e-5)


def _in_order(folder):
    return sorted(folder.iterdir(), key=lambda path: int(path.stem))


def test_cross_validation_with_groups(labelled, model):
    """The example of docs/sklearn.md."""
    paths, labels, groups = labelled
    classifier = finetune.ImageClassifier("probe", model, engine="torch")
    scores = cross_val_score(classifier, paths, labels, groups=groups, cv=GroupKFold(4))
    assert scores.shape == (4,)
    assert scores.mean() > 0.7


def test_groups_reach_the_inner_folds_too(labelled, model):
    paths, labels, groups = labelled
    seen = []

    class Watching(finetune.ImageClassifier):
        def _task(self, train):
            task = super()._task(train)
            seen.extend((train.groups[a], train.groups[b]) for a, b in task.folds.pairs)
            return task

    with sklearn.config_context(enable_metadata_routing=True):
        classifier = Watching("probe", model, engine="torch").set_fit_request(groups=True)
        cross_val_score(classifier, paths, labels, cv=GroupKFold(4), params={"groups": groups})
    assert len(seen) > 4
    assert all(not set(train) & set(test) for train, test in seen)


def test_a_search_over_strategies_and_their_options(labelled, model):
    paths, labels, _ = labelled
    grid = [{"strategy": ["knn"]}, {"strategy": ["probe"], "options": [{"l2": 0.1}, {"l2": 1e3}]}]
    search = GridSearchCV(finetune.ImageClassifier("probe", model, engine="torch"), grid, cv=2)
    search.fit(paths, labels)
    assert search.best_score_ > 0.7
    assert len(search.cv_results_["params"]) == 3


def test_a_step_of_a_pipeline_on_images_in_memory(labelled, model):
    paths, labels, _ = labelled
    opened = FunctionTransformer(lambda paths: [np.asarray(Image.open(path)) for path in paths])
    steps = make_pipeline(opened, finetune.ImageClassifier("knn", model, engine="torch"))
    assert steps.fit(paths, labels).score(paths, labels) > 0.7
    alone = finetune.ImageClassifier("knn", model, engine="torch").fit(paths, labels)
    np.testing.assert_allclose(steps.predict_proba(paths), alone.predict_proba(paths), atol=1e-6)


def test_a_copy_from_another_process_gives_the_same(labelled, model):
    paths, labels, _ = labelled
    classifier = finetune.ImageClassifier("probe", model, engine="torch").fit(paths, labels)
    content = pickle.dumps(classifier)
    assert len(content) < 60_000  # the head, and no network
    assert np.array_equal(pickle.loads(content).predict_proba(paths), classifier.predict_proba(paths))


def test_a_trained_network(labelled, model):
    paths, labels = (given[8:16] for given in labelled[:2])
    images = [np.asarray(Image.open(path)) for path in paths]
    options = {"epochs": 1, "lr": 0.001}
    classifier = finetune.ImageClassifier("last-layers", model, options=options, cv=2, engine="torch")
    classifier.fit(images, labels)
    p = classifier.predict_proba(paths)
    assert p.shape == (8, 2)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(classifier)).predict_proba(images), p, atol=1e-5)
    assert "lr" in classifier.choice_


@pytest.mark.parametrize("features", ["last", "stages", "auto"])
def test_features_of_stages_and_of_mirror_images(labelled, model, features):
    paths, labels, _ = labelled
    classifier = finetune.ImageClassifier(
        "probe", model, features=features, options={"l2": 0.1}, tta="mirror", view="whole", engine="torch"
    )
    classifier.fit(paths, labels)
    assert features in ("auto", classifier.fitted_.features)
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict_proba(paths), classifier.predict_proba(paths))
    mirrored = [np.asarray(Image.open(path))[:, ::-1].copy() for path in paths]
    np.testing.assert_allclose(again.predict_proba(mirrored), again.predict_proba(paths), atol=1e-4)


def test_labels_of_any_kind_come_back(labelled):
    paths, labels, _ = labelled
    for names in (np.array(labels), np.array(labels) == "china", [3 if n == "china" else 10 for n in labels]):
        classifier = finetune.ImageClassifier("raw", cv=2).fit(paths, names)
        assert set(classifier.predict(paths).tolist()) <= set(np.asarray(names).tolist())
        assert classifier.classes_.tolist() == sorted(set(np.asarray(names).tolist()))


def test_faults(labelled, tmp_path):
    paths, labels, groups = labelled
    with pytest.raises(OptionError, match="probe"):
        finetune.ImageClassifier("prob").fit(paths, labels)
    with pytest.raises(OptionError, match="--speed"):
        finetune.ImageClassifier("raw", options={"speed": 3}).fit(paths, labels)
    with pytest.raises(ValueError, match="one class"):
        finetune.ImageClassifier("raw").fit(paths[:3], labels[:3])
    with pytest.raises(ValueError, match="inconsistent"):
        finetune.ImageClassifier("raw").fit(paths, labels, groups[:3])
    with pytest.raises(ValueError, match="cv is 1"):
        finetune.ImageClassifier("raw", cv=1).fit(paths, labels)
    with pytest.raises(OptionError, match="--features"):
        finetune.ImageClassifier("knn", features="stages").fit(paths, labels)
    with pytest.raises(OptionError, match="tta"):
        finetune.ImageClassifier("full", tta="mirror").fit(paths, labels)
    classifier = finetune.ImageClassifier("raw", options={}).fit(paths, labels)
    with pytest.raises(UnreadableImage, match="no such file"):
        classifier.predict([tmp_path / "gone.png"])
    assert clone(classifier).get_params()["options"] == {}


@pytest.mark.slow
@needs_photographs
def test_ants_and_bees_in_two_processes():
    folder = SHARED / "ants-bees"
    paths = sorted((folder / "train").rglob("*.jpg"))
    labels = [path.parent.name for path in paths]
    found = cross_val_score(finetune.ImageClassifier(), paths, labels, cv=3, n_jobs=2)
    assert found.mean() > 0.93
    assert zoo.load("efficientnet_lite0").num_features == 1280
