"""A network with a classifier for our classes, ready to be trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from finetune.heads import initial
from finetune.training.sources import Source, batches
from zoo.backbone import Backbone

__all__ = ["build", "classifier_inputs", "depthwise_in_fp32", "evaluating", "seeded", "set_head"]


def build(backbone: Backbone, n_classes: int, seed: int) -> Any:
    """Return a backbone's network with a new classifier, in channels-last order.

    Parameters
    ----------
    backbone : Backbone
        Not changed: the network is loaded anew.
    n_classes : int
        How many outputs.
    seed : int
        Of the classifier's first weights, which are near zero: all classes are about equally likely.
    """
    import timm

    with seeded(seed, torch.device("cpu")):  # timm draws the weights of a new classifier
        network: Any = timm.create_model(f"local-dir:{backbone.folder}", pretrained=True)
        network.reset_classifier(n_classes)
    inputs = network.get_submodule(backbone.classifier).weight.shape[1]
    W = initial.head(np.random.default_rng([seed, 4]), n_classes, inputs)
    set_head(network, backbone.classifier, W, np.zeros(n_classes, np.float32))
    return network.to(memory_format=torch.channels_last)


def set_head(network: nn.Module, name: str, W: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    """Put weights (c, d) and biases (c,) into a network's classifier, the module called `name`."""
    classifier: Any = network.get_submodule(name)
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(np.asarray(W, np.float32)).view_as(classifier.weight))
        classifier.bias.copy_(torch.from_numpy(np.asarray(b, np.float32)))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, torch draws random numbers from a seed; afterwards its generators are as they were."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.random.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within, a network is in evaluation mode; afterwards each module is in the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def classifier_inputs(network: nn.Module, classifier: str, source: Source) -> NDArray[np.float32]:
    """Return what a network's classifier is given for each row of a source, (n, d)."""
    found: list[NDArray[np.float32]] = []
    handle = network.get_submodule(classifier).register_forward_pre_hook(
        lambda module, given: found.append(given[0].float().flatten(1).cpu().numpy())
    )
    chunks = np.array_split(np.arange(len(source)), max(1, -(-len(source) // 32)))
    device = next(network.parameters()).device
    try:
        with evaluating(network), torch.inference_mode():
            for images in batches(source, chunks, None):
                network(images.to(device))
    finally:
        handle.remove()
    return np.concatenate(found)


@contextmanager
def depthwise_in_fp32(network: nn.Module) -> Iterator[None]:
    """Within, depthwise convolutions are left out of autocast on a CPU.

    oneDNN has no fast bfloat16 kernel for their gradients: those of EfficientNet-Lite0 take 0.7 s a batch of
    32 instead of 0.2 in float32, more than the rest of the network gains from bfloat16.
    """

    def before(module: nn.Module, given: tuple[torch.Tensor, ...]) -> Any:
        if not torch.is_autocast_enabled("cpu"):
            return None
        torch.set_autocast_enabled("cpu", False)
        module.__dict__["resume_autocast"] = True
        return (given[0].float(), *given[1:])

    def after(module: nn.Module, given: Any, output: torch.Tensor) -> Any:
        if not module.__dict__.pop("resume_autocast", False):
            return None
        torch.set_autocast_enabled("cpu", True)
        return output.to(torch.get_autocast_dtype("cpu"))

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            handles += [
                module.register_forward_pre_hook(before),
                module.register_forward_hook(after),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
