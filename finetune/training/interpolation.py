"""Interpolation of trained weights with those that the training started from.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903): the weights
``(1 - alpha) * start + alpha * trained`` keep much of what the pretraining is good for, and often predict
better than either end. Here the start has the probe for a classifier, so that with alpha 0 the result is the
probe: training on few images does not end below it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from finetune.evaluation.calibration import fit_temperature, log_losses
from finetune.evaluation.comparisons import standard_error
from finetune.training.parts import buffers

__all__ = ["ALPHAS", "choose_alpha", "interpolate", "trained_state"]

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def trained_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the tensors that training changes, by name."""
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    return {n: t.detach().clone() for n, t in {**trained, **buffers(network)}.items()}


def interpolate(
    network: nn.Module, start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], alpha: float
) -> None:
    """Set a network's trained tensors to ``(1 - alpha) * start + alpha * end``; either end to the last bit.

    Parameters
    ----------
    network : Module
        Changed.
    start, end : dict of str to tensor
        As :func:`trained_state` returned them. Of whole numbers, which count batches, the end's are taken.
    alpha : float
        From 0 to 1.
    """
    state = network.state_dict()
    with torch.no_grad():
        for name, last in end.items():
            if alpha in (0, 1):
                state[name].copy_(last if alpha else start[name])
            elif last.is_floating_point():
                state[name].copy_(torch.lerp(start[name], last, alpha))
            else:
                state[name].copy_(last)


def choose_alpha(
    scores: dict[float, NDArray[np.float32]],
    labels: NDArray[np.int64],
    groups: NDArray[Any] | None = None,
) -> tuple[float, list[dict[str, float]]]:
    """Choose the smallest alpha whose log loss is within one standard error of the lowest.

    The standard error is that of the paired differences of the images' losses, each alpha at its own best
    temperature.

    Parameters
    ----------
    scores : dict of float to (n, c) array
        Of images that were not trained on, by alpha.
    labels : (n,) int array
        Their classes.
    groups : (n,) array, optional
        Images of one group are not independent of each other.

    Returns
    -------
    alpha : float
    tried : list of dict
        ``alpha``, ``validation_loss`` and ``validation_accuracy`` of each.
    """
    losses = {a: log_losses(s, labels, fit_temperature(s, labels)) for a, s in sorted(scores.items())}
    best = min(losses, key=lambda alpha: float(losses[alpha].mean()))
    differences = {alpha: each - losses[best] for alpha, each in losses.items()}
    close = [alpha for alpha, each in differences.items() if each.mean() <= standard_error(each, groups)]
    tried = [
        {
            "alpha": a,
            "validation_loss": float(each.mean()),
            "validation_accuracy": float((scores[a].argmax(axis=1) == labels).mean()),
        }
        for a, each in losses.items()
    ]
    return close[0], tried
