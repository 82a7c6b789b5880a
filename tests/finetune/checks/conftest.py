"""Contexts of checks: small crops of photographs, and small networks of random weights."""

import pytest
import timm
import torch
from photos import tiles
from timm.models import save_for_hf

from finetune.checks.context import CheckContext
from finetune.experiment import Request, prepare
from finetune.methods import make_method

SIDE = 64


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Make, once each, a small network of random weights that takes 64 pixels; 0 classes: no classifier."""
    made = {}

    def make(architecture="test_resnet", num_classes=0):
        key = (architecture, num_classes)
        if key not in made:
            folder = tmp_path_factory.mktemp("networks") / f"{architecture}-{num_classes}"
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = timm.create_model(architecture, pretrained=False, num_classes=num_classes)
                with torch.no_grad():  # timm begins some parameters at zero, training leaves none there
                    for name, parameter in network.named_parameters():
                        if parameter.ndim == 1:
                            parameter.copy_(0.1 * torch.randn(parameter.shape) + name.endswith("weight"))
            network.pretrained_cfg["input_size"] = (3, SIDE, SIDE)
            save_for_hf(network, str(folder), safe_serialization=True)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return tiles(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def make_context(networks, photos, tmp_path):
    """Make the context of a folder, a network and a strategy."""

    def make(folder=photos, strategy="probe", network=None, request=None, **options):
        pictures = tmp_path / "pictures"
        pictures.mkdir(exist_ok=True)
        model = f"local-dir:{network or networks()}" if network != "efficientnet_lite0" else network
        request = Request(str(folder), (model,), engine="torch", **(request or {}))
        method = make_method(strategy, **options)
        return CheckContext(prepare(request, methods=[method]), method, pictures)

    return make
