"""What is trained, as data: names of parameters, by the network's own stages.

timm's networks define which parameters make up which stage (``group_matcher``), from the stem to the
classifier.
"""

import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from finetune.errors import OptionError

__all__ = ["everything", "freeze_all_but", "last_stages", "matching", "stages"]

_NORMALISATIONS = (nn.modules.batchnorm._BatchNorm,)


def stages(network: Any) -> list[list[str]]:
    """Return the names of a network's parameters by stage.

    Parameters
    ----------
    network : Module
        One of timm's.

    Returns
    -------
    list of list of str
        From the stem to the head, which is the classifier and what stands directly before it.
    """
    from timm.models import group_parameters

    groups = group_parameters(network, network.group_matcher(coarse=True))
    return [groups[place] for place in sorted(groups)]


def everything(network: nn.Module) -> set[str]:
    """Return the names of all parameters."""
    return {name for name, _ in network.named_parameters()}


def last_stages(network: nn.Module, number: int) -> set[str]:
    """Return the names of the parameters of the last stages and of the head.

    Parameters
    ----------
    network : Module
        One of timm's.
    number : int
        How many stages before the head; 0 for the head alone.

    Raises
    ------
    OptionError
        If the network has fewer, or the number is negative.
    """
    groups = stages(network)
    if not 0 <= number < len(groups):
        raise OptionError(
            f"The network has {len(groups) - 1} stages before its head, not {number}.",
            f"Give --layers a number from 0 to {len(groups) - 1}, or use --strategy full.",
        )
    return {name for group in groups[len(groups) - 1 - number :] for name in group}


def matching(network: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Return the names of the parameters that patterns match.

    Parameters
    ----------
    network : Module
        Any.
    patterns : sequence of str
        As in a shell: ``blocks.5.*``, ``*.bn?.weight``. The name of a module means all of its parameters.

    Raises
    ------
    OptionError
        If a pattern matches nothing.
    """
    names = [name for name, _ in network.named_parameters()]
    found: set[str] = set()
    for pattern in patterns:
        hits = {n for n in names if fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(n, f"{pattern}.*")}
        if not hits:
            tops = list(dict.fromkeys(n.split(".")[0] for n in names))
            raise OptionError(
                f"No parameter of the network matches {pattern!r}.",
                f"Names begin with {', '.join(tops[:12])}; as in a shell, * matches anything.",
            )
        found |= hits
    return found


def freeze_all_but(network: nn.Module, trained: set[str], bn: str) -> None:
    """Train some parameters only, and put every module into the mode that this needs.

    Frozen modules run in evaluation mode, for a batch normalisation in training mode would update its
    statistics, and dropout would make the frozen part's output random.

    Parameters
    ----------
    network : Module
        Changed.
    trained : set of str
        Names of the parameters that are trained.
    bn : str
        ``frozen``: trained batch normalisations keep the pretrained statistics; only their scale and shift
        are trained. ``train``: they use the statistics of the batches.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    for module in network.modules():
        module.training = _is_training(module, bn)


def _is_training(module: nn.Module, bn: str) -> bool:
    own = list(module.parameters())
    is_trained = bool(own) and all(parameter.requires_grad for parameter in own)
    if isinstance(module, _NORMALISATIONS):
        return is_trained and bn == "train"
    return is_trained


def buffers(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that training may change: those of batch normalisations in training mode."""
    return {
        f"{prefix}.{name}": buffer
        for prefix, module in network.named_modules()
        if isinstance(module, _NORMALISATIONS) and module.training
        for name, buffer in module.named_buffers(recurse=False)
    }
