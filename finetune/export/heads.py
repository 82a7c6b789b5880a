"""Every kind of head as a torch module, from features (n, d) to scores (n, c).

To add a head, write its module here and name it in `MODULES`; a test holds the table to
:data:`finetune.runs.saved.HEADS`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from finetune.heads.constant import Constant
from finetune.heads.head import Head
from finetune.heads.kernel import Kernel
from finetune.heads.knn import Neighbours
from finetune.heads.linear import Linear
from finetune.heads.mlp import LEAK, MLP
from finetune.runs.ensemble import SMALLEST, Ensemble

__all__ = ["MODULES", "head_module"]

#: Stored rows whose absolute differences are held at a time: 10 MB for 32 images of 1,280 features.
_ROWS = 64


class LinearModule(nn.Module):
    """``x W' + b``."""

    W: torch.Tensor
    b: torch.Tensor

    def __init__(self, head: Linear) -> None:
        super().__init__()
        self.register_buffer("W", torch.tensor(head.W))
        self.register_buffer("b", torch.tensor(head.b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c)."""
        return x @ self.W.T + self.b


class MLPModule(nn.Module):
    """One hidden layer."""

    def __init__(self, head: MLP) -> None:
        super().__init__()
        self.activation = head.activation
        self.first = LinearModule(Linear(head.W1, head.b1))
        self.second = LinearModule(Linear(head.W2, head.b2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c)."""
        return self.second(_activate(self.first(x), self.activation))


def _activate(sums: torch.Tensor, name: str) -> torch.Tensor:
    if name == "relu":
        return sums.relu()
    if name == "leaky_relu":
        return torch.maximum(sums, LEAK * sums)
    if name == "elu":
        return nn.functional.elu(sums)
    if name == "tanh":
        return sums.tanh()
    return sums.unflatten(1, (-1, 2)).amax(dim=2)  # maxout: a unit's two sums lie side by side


class NeighboursModule(nn.Module):
    """Distances to the stored features, and the votes of the nearest.

    In float64 where scikit-learn computes in float64: one minus a product loses half the digits of a
    distance between images that are nearly the same.
    """

    X: torch.Tensor
    lengths: torch.Tensor
    votes: torch.Tensor

    def __init__(self, head: Neighbours) -> None:
        super().__init__()
        self.head = head
        X = torch.tensor(head.X)
        if head.metric == "cosine":
            X = _unit(X)
        elif head.metric == "l2":
            X = X.double()
        self.register_buffer("X", X)
        self.register_buffer("lengths", (X * X).sum(dim=1))
        self.register_buffer("votes", nn.functional.one_hot(torch.tensor(head.y), head.classes).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c)."""
        k = self.head.k
        far, nearest = torch.topk(self._distances(x), k, dim=1, largest=False)
        weights = self._weights(far).float()
        counted = (self.votes[nearest] * weights[:, :, None]).sum(dim=1)
        shares = counted / counted.sum(dim=1, keepdim=True)
        # As `log_shares`: one vote more is spread evenly over all classes.
        return torch.log((k * shares + 1 / self.head.classes) / (k + 1)) / self.head.temperature

    def _distances(self, x: torch.Tensor) -> torch.Tensor:
        if self.head.metric == "cosine":
            return (1 - _unit(x) @ self.X.T).clamp(0, 2)
        if self.head.metric == "l1":
            blocks = self.X.split(_ROWS)
            return torch.cat([(x[:, None] - block).abs().sum(dim=2) for block in blocks], dim=1)
        x = x.double()
        squares = (x * x).sum(dim=1, keepdim=True) - 2 * (x @ self.X.T) + self.lengths
        return squares.clamp(min=0).sqrt()

    def _weights(self, far: torch.Tensor) -> torch.Tensor:
        if self.head.weights == "uniform":
            return torch.ones_like(far)
        exact = (far == 0).to(far.dtype)
        # Where a stored image is met again, only it votes.
        met = exact.amax(dim=1, keepdim=True)
        return met * exact + (1 - met) / torch.where(far == 0, torch.ones_like(far), far)


class KernelModule(nn.Module):
    """The kernel's values at the centres, weighed; in float64, for weights are large and of both signs."""

    mean: torch.Tensor
    scale: torch.Tensor
    centres: torch.Tensor
    lengths: torch.Tensor
    weights: torch.Tensor

    def __init__(self, head: Kernel) -> None:
        super().__init__()
        self.head = head
        for name in ("mean", "scale", "weights"):
            self.register_buffer(name, torch.tensor(getattr(head, name)))
        centres = torch.tensor(head.centres).double()
        self.register_buffer("centres", centres)
        self.register_buffer("lengths", (centres * centres).sum(dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c)."""
        z = ((x - self.mean) / self.scale).double()
        squares = ((z * z).sum(dim=1, keepdim=True) - 2 * (z @ self.centres.T) + self.lengths).clamp(min=0)
        scores = torch.exp(-squares / self.head.width) @ self.weights.double()
        return ((scores + 1 / self.head.n_classes) / self.head.temperature).float()


class EnsembleModule(nn.Module):
    """Several heads whose probabilities are averaged."""

    def __init__(self, head: Ensemble) -> None:
        super().__init__()
        self.head = head
        self.members = nn.ModuleList(head_module(member.head) for member in head.members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c)."""
        last = x[:, : self.head.n_last]
        pairs = zip(self.head.members, self.members, strict=True)
        parts = [
            member.weight * module(x if member.features == "stages" else last).softmax(dim=1)
            for member, module in pairs
        ]
        return torch.stack(parts).sum(dim=0).clamp(min=SMALLEST).log() / self.head.temperature


def _unit(x: torch.Tensor) -> torch.Tensor:
    lengths = (x * x).sum(dim=1, keepdim=True).sqrt()
    return x / torch.where(lengths < 10 * torch.finfo(x.dtype).eps, torch.ones_like(lengths), lengths)


class ConstantModule(nn.Module):
    """The same scores for every image."""

    scores: torch.Tensor

    def __init__(self, head: Constant) -> None:
        super().__init__()
        self.register_buffer("scores", torch.tensor(head.scores, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c)."""
        # Added to zeros made from the input, so that the number of images stays open.
        return 0 * x[:, :1] + self.scores


#: The module of each kind of head.
MODULES: dict[str, Callable[[Any], nn.Module]] = {
    "linear": LinearModule,
    "mlp": MLPModule,
    "knn": NeighboursModule,
    "kernel": KernelModule,
    "constant": ConstantModule,
    "ensemble": EnsembleModule,
}


def head_module(head: Head) -> nn.Module:
    """Return a head as a torch module, from features (n, d) float32 to calibrated scores (n, c)."""
    return MODULES[head.kind](head)
