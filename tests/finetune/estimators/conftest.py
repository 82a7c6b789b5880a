"""A small network that the tests of this room share."""

import pytest
from networks import Zoo


@pytest.fixture(scope="package")
def network(shared_cache, tmp_path_factory):
    """One with random weights, for images of 64 x 64 pixels."""
    return Zoo(tmp_path_factory.mktemp("networks"))("test_efficientnet")
