"""Mixup and cutmix: batches in which each input is a mixture of two, and counts for the classes of both.

Mixup averages two inputs (Zhang et al. 2018, arXiv 1710.09412); cutmix pastes a rectangle of one into the
other (Yun et al. 2019, arXiv 1905.04899). As in timm, a batch has one mixing ratio, and each input is mixed
with the one at the mirrored place of the batch; of both kinds, each is drawn half of the time.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["Mixed", "mix"]


@dataclass(frozen=True, eq=False)
class Mixed:
    """A batch, perhaps of mixtures.

    Attributes
    ----------
    inputs : (n, channels, height, width) tensor
    labels, partners : (n,) int tensor
        Classes of the two that each input is a mixture of.
    share : float
        How much of it the first is; 1 where nothing is mixed.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    partners: torch.Tensor
    share: float = 1.0

    def losses(
        self, scores: torch.Tensor, rows: slice, class_weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """Return the cross-entropy of some rows, (k,), each class with its weight.

        Parameters
        ----------
        scores : (k, c) tensor
            Of these rows.
        rows : slice
        class_weights : (c,) tensor
        smoothing : float
            Label smoothing of both classes.
        """

        def weighted(labels: torch.Tensor) -> torch.Tensor:
            each = F.cross_entropy(scores, labels, reduction="none", label_smoothing=smoothing)
            return each * class_weights[labels]

        losses = weighted(self.labels[rows])
        if self.share == 1:
            return losses
        return self.share * losses + (1 - self.share) * weighted(self.partners[rows])


def mix(
    inputs: torch.Tensor, labels: torch.Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> Mixed:
    """Mix the inputs of a batch.

    Parameters
    ----------
    inputs : (n, channels, height, width) tensor
        Not changed.
    labels : (n,) int tensor
    mixup, cutmix : float
        The alpha of each: the mixing ratio is drawn from Beta(alpha, alpha). 0 for none.
    rng : Generator
    """
    if not mixup and not cutmix:
        return Mixed(inputs, labels, labels)
    cut = bool(cutmix) and (not mixup or rng.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(rng.beta(alpha, alpha))
    others = inputs.flip(0)
    if not cut:
        return Mixed(torch.lerp(others, inputs, share), labels, labels.flip(0), share)
    height, width = inputs.shape[-2:]
    rows, columns = (_interval(side, np.sqrt(1 - share), rng) for side in (height, width))
    mixed = inputs.clone()
    mixed[..., rows, columns] = others[..., rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixed(mixed, labels, labels.flip(0), 1 - pasted / (height * width))


def _interval(side: int, fraction: float, rng: np.random.Generator) -> slice:
    """A random interval of a side, cut off where it goes beyond it."""
    length = int(side * fraction)
    start = int(rng.integers(side)) - length // 2
    return slice(max(0, start), min(side, start + length))
