"""One small network for the tests of this folder."""

import pytest
from networks import Zoo


@pytest.fixture(scope="session")
def network(shared_cache, tmp_path_factory):
    """The name of a network of 0.4 million random weights, for images of 64 x 64 pixels."""
    return f"local-dir:{Zoo(tmp_path_factory.mktemp('network'))('test_efficientnet').folder}"
