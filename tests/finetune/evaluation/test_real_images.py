"""What the statistics say of real photographs, seen through EfficientNet-Lite0."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import zoo
from finetune.evaluation import Unfamiliar, fit_prediction_sets, measure_shift

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the data folder ../shared/data is not here"),
]


def _features(paths):
    return zoo.extract("efficientnet_lite0", sorted(paths)).X


@pytest.fixture(scope="module")
def ants_bees(shared_cache):
    """Features and classes of the training and the held-out photographs."""
    found = {}
    for split in ("train", "val"):
        paths = sorted((DATA / "ants-bees" / split).rglob("*.jpg"))
        found[split] = _features(paths), np.array([path.parent.name == "bees" for path in paths]).astype(int)
    return found


def test_foreign_images_are_rejected_and_held_out_ones_are_not(ants_bees):
    fitted = Unfamiliar.fit(ants_bees["train"][0])
    assert np.mean(fitted.predict(ants_bees["val"][0]) <= 0.05) <= 0.09
    radiographs = _features((DATA / "radiographs").rglob("*.jpeg"))
    hands = _features(sorted((DATA / "sign-digits").rglob("*.JPG"))[::20])
    for foreign in (radiographs, hands):
        assert np.mean(fitted.predict(foreign) <= 0.05) >= 0.98


def test_sets_hold_the_right_class(ants_bees):
    (X, y), (new, truth) = ants_bees["train"], ants_bees["val"]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3))
    fitted = fit_prediction_sets(cross_val_predict(model, X, y, cv=5, method="predict_proba"), y)
    sets = fitted.predict(model.fit(X, y).predict_proba(new), 0.95)
    assert sets[np.arange(len(truth)), truth].mean() >= 0.93
    assert sets.sum(axis=1).mean() < 1.2


@pytest.mark.parametrize("seed", range(20))
def test_a_random_split_is_no_other_kind(ants_bees, seed):
    X = np.concatenate([ants_bees["train"][0], ants_bees["val"][0]])
    order = np.random.default_rng(seed).permutation(len(X))
    assert not measure_shift(X[order[80:]], X[order[:80]]).differs


def test_the_authors_split_is_random_and_a_blurred_one_is_another_kind(ants_bees, tmp_path):
    train = ants_bees["train"][0]
    assert not measure_shift(train, ants_bees["val"][0]).differs
    blurred = []
    for i, path in enumerate(sorted((DATA / "ants-bees" / "val").rglob("*.jpg"))[::3]):
        blurred.append(tmp_path / f"{i}.jpg")
        with Image.open(path) as image:
            image.convert("RGB").filter(ImageFilter.GaussianBlur(2)).save(blurred[-1])
    found = measure_shift(train, _features(blurred))
    assert found.differs
    assert found.auc > 0.9
