"""What docs/sklearn.md shows runs as it stands, on a small network."""

import re
from pathlib import Path

import pytest
from estimators import NO_MATRIX
from photos import crops

import zoo

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sklearn.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_run(tmp_path, monkeypatch, capsys, network):
    images = list(crops(tmp_path / "photos").rglob("*.png"))
    zoo.extract(network, images, engine="torch", features="stages")  # one batch, instead of one a fold
    monkeypatch.chdir(tmp_path)
    for module in ("finetune.estimators.image_classifier", "zoo.features.transformer"):
        monkeypatch.setattr(f"{module}.load", lambda name: network)
    monkeypatch.setattr("zoo.engines.choice._order", lambda: ["torch"])  # to convert it takes seconds
    names = {}
    for example in EXAMPLES:
        exec(example, names)
    printed = capsys.readouterr().out
    assert re.match(r"\d+\.\d% ± \d+\.\d%\n", printed)
    assert names["scores"].mean() > 0.7
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("check", NO_MATRIX)
def test_the_page_lists_what_does_not_apply(check):
    assert f"`{check}`" in PAGE.read_text(encoding="utf-8")
