"""The lines of a model's README.md give our probabilities where this project cannot be imported."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from networks import Zoo
from photos import crops

import finetune
from finetune.runs.readme import readme

#: Nothing of ours can be imported, as where it is not installed.
ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("zoo", "finetune"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("networks"))("test_efficientnet").folder


def code(run):
    text = (run.path / "model" / "README.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1:]


@pytest.mark.parametrize("features", ["last", "stages"])
@pytest.mark.parametrize(("tta", "view"), [("none", "crop"), ("mirror", "whole")])
def test_its_lines_give_the_same_probabilities(features, tta, view, photos, network, tmp_path):
    out, model = tmp_path / "run", f"local-dir:{network}"
    run = finetune.fit(photos, model, out=out, features=features, engine="torch", tta=tta, view=view)
    [lines] = code(run)
    assert len(lines.splitlines()) <= 20
    image = sorted(photos.rglob("*.png"))[3]
    shutil.copy(image, run.path / "model" / "image.jpg")
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", ALONE + lines],
        cwd=run.path / "model",
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.replace("'", '"'))
    expected = finetune.load(run.path, engine="torch").predict_proba([image])[0]
    assert found == pytest.approx(dict(zip(("china", "flower"), expected, strict=True)), abs=1e-4)


def test_other_models_say_how_they_are_opened(photos, network, tmp_path):
    for strategy, words in (("knn", "(knn)"), ("raw", "without a network")):
        run = finetune.fit(photos, f"local-dir:{network}", strategy, out=tmp_path / strategy, engine="torch")
        assert words in (run.path / "model" / "README.md").read_text()
        assert not code(run)


def test_the_docs_show_the_lines_of_a_model_on_stages():
    page = Path(__file__).parents[3] / "docs" / "features.md"
    config = {"head": {"kind": "linear"}, "features": ["last", "blocks.0:avg"]}
    [lines] = re.findall(r"```python\n(.*?)```", readme(config), re.DOTALL)[1:]
    assert lines in page.read_text(encoding="utf-8")
