"""What every test needs: caches of its own, and never the user's; and one thread for tiny networks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported. A tiny network is no faster in several threads, and these wait for each other by
# spinning: beside other programs the same tests took up to thirty times the processor's time.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the whole session, so that weights are converted once."""
    folder = tmp_path_factory.mktemp("zoo-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder))
        patch.delenv("ZOO_REGISTRY", raising=False)
        yield folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which nothing has happened yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ZOO_CACHE", str(folder))
    return folder
