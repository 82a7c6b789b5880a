"""Networks that several tests share: the default one, and a tiny one where the network is not the point."""

from pathlib import Path

import pytest
import sklearn.datasets
import timm
import torch
from timm.models import save_for_hf
from torch import nn

import zoo


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of scikit-learn's two photographs, china.jpg and flower.jpg."""
    return Path(sklearn.datasets.__file__).parent / "images"


@pytest.fixture(scope="session")
def backbone(shared_cache):
    """EfficientNet-Lite0 with ImageNet's weights."""
    return zoo.load("efficientnet_lite0")


@pytest.fixture(scope="session")
def random_backbone(shared_cache, tmp_path_factory):
    """Make a backbone of any of timm's architectures; its batch normalisations do something."""
    made = {}

    def make(architecture):
        if architecture not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = timm.create_model(architecture, pretrained=False)
                for module in model.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.running_mean.normal_(0, 0.1)
                        module.running_var.uniform_(0.5, 1.5)
                        nn.init.uniform_(module.weight, 0.5, 1.5)
            folder = tmp_path_factory.mktemp(architecture)
            save_for_hf(model, str(folder), safe_serialization=True)
            made[architecture] = zoo.load(f"local-dir:{folder}")
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def tiny(random_backbone):
    """A network of 0.4 million random weights, which converts in a second."""
    return random_backbone("test_efficientnet")
