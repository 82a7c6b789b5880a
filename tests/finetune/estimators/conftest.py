"""A small network that the tests of this room share."""

import pytest
import timm
import torch
from timm.models import save_for_hf

import zoo


@pytest.fixture(scope="package")
def network(shared_cache, tmp_path_factory):
    """One with random weights."""
    folder = tmp_path_factory.mktemp("network")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_for_hf(timm.create_model("test_efficientnet"), str(folder), safe_serialization=True)
    return zoo.load(f"local-dir:{folder}")
