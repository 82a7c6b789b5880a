"""Small networks with random weights, and images for them to be trained on."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file
from timm.models import save_for_hf
from torch import nn

import zoo
from finetune.data.split import folds
from finetune.method import Images, Task
from finetune.strategies.full import FullOptions
from finetune.training.loop import Job
from finetune.training.team import Team

SIDE = 64

#: What the names begin with that belong to the last stage and to the head, read off the networks by hand.
LAST = {
    "test_resnet": ("layer4.", "fc."),
    "test_efficientnet": ("blocks.4.", "conv_head.", "bn2.", "classifier."),
    "mobilenetv3_small_050": ("blocks.5.", "conv_head.", "classifier."),
    "test_convnext": ("stages.3.", "head."),
    "test_byobnet": ("stages.3.", "head."),
    "regnetx_002": ("s4.", "head."),
    "test_nfnet": ("stages.3.", "final_conv.", "head."),
    "densenet121": ("features.denseblock4.", "features.norm5.", "classifier."),
}

#: Plain gradient descent at one learning rate.
DESCENT = FullOptions(
    lr=0.1, epochs=1, batch_size=64, opt="sgd", momentum=0.0, weight_decay=0.0, sched="constant",
    warmup_ratio=0.0, clip_grad=0.0, layer_decay=1.0,
)  # fmt: skip

#: The larger ones of these take most of the time; the small ones have every kind of layer.
ARCHITECTURES = [
    pytest.param(name, marks=[] if name.startswith("test_") else pytest.mark.slow) for name in LAST
]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def with_(options, **changes):
    """Return options with some of them changed."""
    return options.model_copy(update=changes)


class Zoo:
    """Makes a backbone of an architecture, once; its normalisations do something."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, architecture):
        place = self.folder / architecture
        if not place.exists():
            save(architecture, place)
        return zoo.load(f"local-dir:{place}")


def save(architecture, folder):
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False)
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, SIDE, SIDE)}
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)  # timm begins some at zero
    save_for_hf(network, str(folder), safe_serialization=True)


def labelled(folder):
    """Paths and labels of a folder with a folder for each of two classes."""
    paths = tuple(sorted(Path(folder).rglob("*.png")))
    names = [path.parent.name for path in paths]
    return paths, np.unique(names, return_inverse=True)[1].astype(np.int64)


def task(backbone, photos, **more):
    paths, labels = labelled(photos)
    X = zoo.extract(backbone, paths, engine="torch").X
    return Task(Images(paths, labels, X), folds(labels, 2), ("china", "flower"), engine="torch", **more)


def tensors(folder):
    """A saved network's tensors as bytes, by name."""
    found = load_file(Path(folder) / "model.safetensors")
    return {name: values.tobytes() for name, values in found.items()}


def held(network):
    """The same of a network in memory."""
    return {
        name: tensor.cpu().contiguous().numpy().tobytes() for name, tensor in network.state_dict().items()
    }


class Squares:
    """A source of small tensors."""

    def __init__(self, n=20, side=8):
        self.x = torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.x)

    def batch(self, rows, epoch):
        return self.x[torch.from_numpy(rows)]


def small_network(norm=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _small_network(norm)


def _small_network(norm):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    network.group_matcher = lambda coarse=False: {"stem": r"^0", "blocks": r"^(\d+)"}
    return network


def small_job(network, n=20):
    return Job(network, network, Squares(n), np.arange(n) % 2, 2, 0, Team())
