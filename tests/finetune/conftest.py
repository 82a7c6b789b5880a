"""What many tests of `finetune` share: a current folder of their own, photographs, small networks."""

import pytest
from networks import Zoo
from photos import crops

import finetune


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder with twelve parts of photographs in each of two classes."""
    return crops(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def probe_run(photos, tmp_path_factory):
    """A finished probe on `photos`, with everything at its default; tests only read it."""
    return finetune.fit(data=photos, out=tmp_path_factory.mktemp("runs") / "probe")


@pytest.fixture(scope="session")
def few_photos(tmp_path_factory):
    """The same with eight in each class, for trainings of networks."""
    return crops(tmp_path_factory.mktemp("few") / "photos", n=8)


@pytest.fixture(scope="session")
def small_networks(tmp_path_factory):
    """Makes the backbone of an architecture, with random weights for 64 pixels a side."""
    return Zoo(tmp_path_factory.mktemp("small-networks"))
