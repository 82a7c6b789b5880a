"""Weights that the tests of this room serve and read: real ones, and tiny ones to be fast."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import TINY, Hub, serve, use

from zoo.registry.registry import resolve
from zoo.weights.ready import ReadyModel, ready


@pytest.fixture(scope="session")
def lite0(shared_cache: Path) -> ReadyModel:
    return ready(resolve("efficientnet_lite0"))


@pytest.fixture(scope="session")
def lite0_file(lite0: ReadyModel) -> Path:
    """Real ImageNet weights, in the form and under the names that the Hub has them."""
    return lite0.folder / "model.safetensors"


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A repository as timm writes it: a network of 0.4 million random weights for three classes."""
    import timm
    import torch

    folder = tmp_path_factory.mktemp("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_efficientnet", num_classes=3)
    described = {"label_names": ["ant", "bee", "wasp"]}
    timm.models.save_for_hf(model, str(folder), model_config=described, safe_serialization=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(
    tiny_files: dict[str, bytes], tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    """The real Hub client, whose Hub is on this machine and whose cache is empty; so is ours."""
    served = Hub()
    for name, content in tiny_files.items():
        served.add(TINY, name, content)
    with serve(served):
        use(served, tmp_path / "hub", monkeypatch)
        yield served
