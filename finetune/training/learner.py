"""One update of the parameters, and the state that updates leave behind."""

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from finetune.errors import TrainingError
from finetune.training.parts import buffers
from finetune.training.recipe import Recipe
from finetune.training.team import Team

__all__ = ["Diverged", "Learner"]


class Diverged(TrainingError):
    """A loss or a gradient that is no number any more, or far above where it began."""


class Learner:
    """What learns, with its optimiser, schedule and moving average.

    Parameters
    ----------
    network : Module
        All of it, frozen part included; its modules are in the mode to train in.
    tail : Module
        The trained part, which shares the network's modules.
    recipe : Recipe
    updates : int
        How many there will be, for the schedule.
    class_weights : (c,) array
        What each class counts in the loss, 1 on average over the images.
    seed : int
    team : Team
        The processes that train together.
    say : callable
        Told in one line of what the user should know.
    """

    def __init__(
        self,
        network: Any,
        tail: nn.Module,
        recipe: Recipe,
        updates: int,
        class_weights: NDArray[np.float64],
        seed: int,
        team: Team,
        say: Callable[[str], None],
    ) -> None:
        self.recipe, self.device, self._seed, self._team, self._say = recipe, team.device, seed, team, say
        self.named = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self._buffers = buffers(network)
        self._optimizer = _optimizer(network, recipe)
        self._schedule = _schedule(self._optimizer, recipe, updates)
        self._tail = team.wrap(tail)
        self._weights = torch.tensor(class_weights, dtype=torch.float32, device=self.device)
        self._average = [p.detach().clone() for p in self.named.values()] if recipe.ema else []
        self._mixup = _mixup(recipe, len(class_weights))
        self._parts = recipe.accumulate

    def update(
        self, given: torch.Tensor, labels: torch.Tensor, step: int, total: int
    ) -> tuple[float, int, float]:
        """Move the parameters once.

        Parameters
        ----------
        given : (n, ...) tensor
            This process's share of a batch, as the tail takes it.
        labels : (n,) int tensor
        step : int
            How many updates there were before.
        total : int
            Images of the whole batch, of all processes.

        Returns
        -------
        loss : float
            Summed over this process's share.
        correct : int
            Images of it that were called rightly.
        norm : float
            Length of the gradient before clipping.

        Raises
        ------
        Diverged
            If the gradient has no finite length; the parameters are as they were.
        """
        torch.manual_seed(self._seed * 1_000_003 + step)  # of dropout, whatever was drawn before
        given, labels = given.to(self.device), labels.to(self.device)
        target = self._target(given, labels, step)
        while True:
            try:
                loss, correct = self._backward(given, labels, target, total)
                break
            except (MemoryError, RuntimeError) as error:
                self._halve(error, len(given))
        limit = self.recipe.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.named.values(), limit))
        if not math.isfinite(norm):
            self._optimizer.zero_grad()
            raise Diverged(f"The gradient is not finite after {step} updates.", "Try a lower --rate.")
        self._schedule.step_update(step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self.recipe.ema:
            torch._foreach_lerp_(self._average, list(self.named.values()), 1 - self._decay(step))
        return loss, correct, norm

    def logits(self, given: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c), in the arithmetic that is trained in."""
        with torch.inference_mode(), self._autocast():
            return self._tail(given.to(self.device)).float().cpu()

    @property
    def rate(self) -> float:
        """The learning rate of the head at the last update."""
        return max(group["lr"] for group in self._optimizer.param_groups)

    def penalty(self) -> float:
        """Return what weight decay would add to the loss as an L2 penalty, half of decay times square.

        AdamW applies it to the weights and not through the loss; with plain gradient descent these are one.
        """
        groups = self._optimizer.param_groups
        squares = [g["weight_decay"] * float(p.detach().square().sum()) for g in groups for p in g["params"]]
        return sum(squares) / 2

    def use_average(self) -> None:
        """Put the moving average in the parameters' place, and them in its; for good at the end."""
        with torch.no_grad():
            for average, parameter in zip(self._average, self.named.values(), strict=False):
                kept = average.clone()
                average.copy_(parameter)
                parameter.copy_(kept)

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that the next update depends on, by name."""
        held = {f"parameter/{name}": p for name, p in self.named.items()}
        held |= {f"buffer/{name}": b for name, b in self._buffers.items()}
        held |= {f"average/{name}": a for name, a in zip(self.named, self._average, strict=False)}
        for name, p in self.named.items():
            held |= {f"optimizer/{name}/{key}": v for key, v in self._optimizer.state[p].items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(state[f"parameter/{name}"])
                prefix = f"optimizer/{name}/"
                self._optimizer.state[p] = {
                    key.removeprefix(prefix): _like(tensor, p)
                    for key, tensor in state.items()
                    if key.startswith(prefix)
                }
            for name, b in self._buffers.items():
                b.copy_(state[f"buffer/{name}"])
            for name, average in zip(self.named, self._average, strict=False):
                average.copy_(state[f"average/{name}"])

    def _backward(
        self, given: torch.Tensor, labels: torch.Tensor, target: torch.Tensor, total: int
    ) -> tuple[float, int]:
        """Add up the gradients of a batch, part by part."""
        loss_sum, correct = 0.0, 0
        most = self._most_parts(len(given))
        ends = np.linspace(0, len(given), min(self._parts, most) + 1).round().astype(int).tolist()
        # Slices keep channels last; picking images by number would not, and cost half of the speed.
        parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
        for i, part in enumerate(parts):
            # Processes put their gradients together once, with the last part.
            with self._team.apart(self._tail) if i < len(parts) - 1 else nullcontext():
                with self._autocast():
                    scores = self._tail(given[part])
                loss = self._loss(scores.float(), target[part], labels[part])
                # Gradients of several processes are averaged, so that each counts as often as there are.
                (loss * (self._team.size / total)).backward()
            loss_sum += float(loss.detach())
            correct += int((scores.argmax(dim=1) == labels[part]).sum())
        return loss_sum, correct

    def _loss(self, scores: torch.Tensor, target: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smoothing = 0.0 if self._mixup else self.recipe.smoothing
        each = F.cross_entropy(scores, target, reduction="none", label_smoothing=smoothing)
        return (each * self._weights[labels]).sum()

    def _target(self, given: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        """The labels; where pictures are mixed (in place), shares of two classes each."""
        if self._mixup is None or len(given) % 2:
            if self._mixup is None:
                return labels
            return F.one_hot(labels, len(self._weights)).float()
        # timm draws from NumPy's global generator.
        np.random.seed((self._seed * 1_000_003 + step) % 2**32)  # noqa: NPY002
        _, target = self._mixup(given, labels)
        return torch.as_tensor(target)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.amp)

    def _decay(self, step: int) -> float:
        """The moving average's decay, which begins low, for the first parameters know nothing."""
        return min(self.recipe.ema, (1 + step) / (10 + step))

    def _most_parts(self, images: int) -> int:
        """A batch normalisation that follows its batch needs more than one image."""
        return max(1, images // 2) if self._buffers else images

    def _halve(self, error: BaseException, images: int) -> None:
        """Work through batches in twice as many parts, if it was memory that was lacking."""
        lacking = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate" in str(error)
        if not lacking:
            raise error
        most = self._most_parts(images)
        if self._parts >= most:
            raise TrainingError(
                "There is not enough memory to train on even one image at a time.",
                "Use a smaller network, or --strategy probe.",
            ) from error
        self._optimizer.zero_grad()
        self._parts = min(2 * self._parts, most)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(
            f"Not enough memory: a batch of {images} is worked through in {self._parts} parts from now on."
        )


def _optimizer(network: Any, recipe: Recipe) -> torch.optim.Optimizer:
    from timm.optim import param_groups_layer_decay

    never = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    groups = param_groups_layer_decay(network, recipe.weight_decay, never, layer_decay=recipe.layer_decay)
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, recipe.rate, momentum=recipe.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, recipe.rate, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, updates: int) -> Any:
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    # The first update of a warm-up has a rate above zero, so it begins one update late.
    warmup = round(recipe.warmup * updates)
    settings: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": recipe.rate / (warmup + 1),
        "t_in_epochs": False,
    }
    if recipe.schedule == "cosine":
        return CosineLRScheduler(optimizer, updates, **settings)
    falls = 0.1 if recipe.schedule == "step" else 1.0
    return StepLRScheduler(optimizer, -(-updates // 3), falls, warmup_prefix=False, **settings)


def _mixup(recipe: Recipe, classes: int) -> Any:
    if not (recipe.mixup or recipe.cutmix):
        return None
    from timm.data import Mixup

    return Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.smoothing, num_classes=classes)


def _like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A tensor as the optimiser would have made it: where and how its parameter lies in memory."""
    if tensor.shape != parameter.shape:
        return tensor.clone()
    like = torch.empty_like(parameter)
    return like.copy_(tensor)
