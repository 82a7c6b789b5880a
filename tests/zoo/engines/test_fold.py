"""Batch normalisations become part of the convolutions before them."""

import copy

import pytest
import torch
from torch import nn

from zoo.engines.fold import fold


class Awkward(nn.Module):
    """Four convolutions of which only the first may take in its normalisation."""

    def __init__(self):
        super().__init__()
        self.plain, self.n1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.used_twice, self.n2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.run_twice, self.n3 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.activated, self.n4 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.n1(self.plain(x))
        y = self.used_twice(x)
        x = self.n2(y) + y
        x = self.n3(self.run_twice(self.run_twice(x)))
        return self.n4(self.activated(x).relu())


def disturbed(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def test_only_what_can_be_folded_is():
    torch.manual_seed(0)
    network = disturbed(Awkward())
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        wanted = network(images)
    assert fold(network, images) == 1
    assert isinstance(network.n1, nn.Identity)
    assert not isinstance(network.n2, nn.Identity)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), wanted)


@pytest.mark.parametrize(
    ("architecture", "folded"),
    [
        ("test_resnet", 15),
        ("test_efficientnet", 13),
        pytest.param("test_convnext", 0, marks=pytest.mark.slow),
        pytest.param("mobilenetv3_small_050", 34, marks=pytest.mark.slow),
    ],
)
def test_folding_changes_nothing_but_rounding(random_backbone, architecture, folded):
    network = copy.deepcopy(random_backbone(architecture).module).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.double)
    ours = copy.deepcopy(network)
    assert fold(ours, images[:1]) == folded
    with torch.inference_mode():
        wanted = network(images)
        torch.testing.assert_close(ours(images), wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
