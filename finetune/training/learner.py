"""One update of the parameters, and the state that updates leave behind."""

import itertools
import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from finetune.errors import TrainingError
from finetune.training.mixing import Mixed, mix
from finetune.training.network import seeded
from finetune.training.parts import buffers
from finetune.training.settings import TrainingOptions
from finetune.training.team import Team

__all__ = ["Diverged", "Learner"]


class Diverged(TrainingError):
    """A loss or a gradient that is not finite any more, or a loss far above its first value."""


class Learner:
    """The trained parameters with their optimizer, schedule and moving average.

    Parameters
    ----------
    network : Module
        All of it, frozen part included, in the mode to train in.
    tail : Module
        The trained part, which shares the network's modules.
    options : TrainingOptions
        Resolved: nothing is left to be filled in.
    updates : int
        How many there will be, for the schedule.
    class_weights : (c,) array
        Weight of each class in the loss, 1 on average over the images.
    seed : int
    team : Team
        The processes that train together.
    """

    def __init__(
        self,
        network: Any,
        tail: nn.Module,
        options: TrainingOptions,
        updates: int,
        class_weights: NDArray[np.float64],
        seed: int,
        team: Team,
    ) -> None:
        self.options, self.device, self._seed, self._team = options, team.device, seed, team
        self.named = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self._buffers = buffers(network)
        self._optimizer = _optimizer(network, options)
        self._schedule = _schedule(self._optimizer, options, updates)
        self._tail = team.wrap(tail)
        self._weights = torch.tensor(class_weights, dtype=torch.float32, device=self.device)
        averaged = self.named.values() if options.model_ema_decay else ()
        self._average = [p.detach().clone() for p in averaged]

    def update(
        self, given: torch.Tensor, labels: torch.Tensor, step: int, total: int
    ) -> tuple[float, int, float]:
        """Update the parameters once.

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
            How many of its images were predicted correctly.
        norm : float
            Of the gradient before clipping.

        Raises
        ------
        Diverged
            If the gradient is not finite; the parameters are as they were.
        TrainingError
            If there is not enough memory.
        """
        mixup, cutmix = self.options.mixup, getattr(self.options, "cutmix", 0.0)
        rng = np.random.default_rng([self._seed, 5, step])
        mixed = mix(given.to(self.device), labels.to(self.device), mixup, cutmix, rng)
        try:
            with seeded(self._seed * 1_000_003 + step, self.device):  # dropout depends on the step alone
                loss, correct = self._backward(mixed, total)
        except (MemoryError, RuntimeError) as error:
            raise self._without_memory(error, len(given)) from error
        limit = self.options.clip_grad or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.named.values(), limit))
        if not math.isfinite(norm):
            self._optimizer.zero_grad()
            raise Diverged(f"The gradient is not finite after {step} updates.", "Try a lower --lr.")
        self._schedule.step_update(step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average:
            torch._foreach_lerp_(self._average, list(self.named.values()), 1 - self._decay(step))
        return loss, correct, norm

    def logits(self, given: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, c), in the arithmetic of the training."""
        with torch.inference_mode(), self._autocast():
            return self._tail(given.to(self.device)).float().cpu()

    @property
    def lr(self) -> float:
        """The learning rate of the classifier at the last update."""
        return max(group["lr"] for group in self._optimizer.param_groups)

    def use_average(self) -> None:
        """Swap the parameters with their moving average, where there is one."""
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
        """Take over what :meth:`state` returned."""
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

    def _backward(self, batch: Mixed, total: int) -> tuple[float, int]:
        """Add up the gradients of a batch, part by part."""
        loss_sum, correct, images = 0.0, 0, len(batch.inputs)
        # A batch normalisation that uses the batch's statistics needs more than one image.
        most = max(1, images // 2) if self._buffers else images
        n_parts = min(self.options.grad_accum_steps, most)
        ends = np.linspace(0, images, n_parts + 1).round().astype(int).tolist()
        # Slices keep channels last; picking images by number would not, and cost half of the speed.
        parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
        for i, part in enumerate(parts):
            # Processes average their gradients once, with the last part.
            with self._team.without_sync(self._tail) if i < len(parts) - 1 else nullcontext():
                with self._autocast():
                    scores = self._tail(batch.inputs[part])
                losses = batch.losses(scores.float(), part, self._weights, self.options.label_smoothing)
                loss = losses.sum()
                # Gradients are averaged over the processes, hence the factor.
                (loss * (self._team.size / total)).backward()
            loss_sum += float(loss.detach())
            correct += int((scores.argmax(dim=1) == batch.labels[part]).sum())
        return loss_sum, correct

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.amp)

    def _decay(self, step: int) -> float:
        """The moving average's decay, which starts low, for the first parameters are the worst."""
        return min(self.options.model_ema_decay, (1 + step) / (10 + step))

    def _without_memory(self, error: Exception, images: int) -> Exception:
        """Return the error for a lack of memory; dividing the batch silently would change the rounding."""
        lacking = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate" in str(error)
        if not lacking:
            return error
        self._optimizer.zero_grad()
        parts = 2 * min(self.options.grad_accum_steps, images)
        step = (
            f"Compute it in parts with --grad-accum-steps {parts}, or give a smaller --batch-size."
            if parts <= images
            else "Use a smaller network, or --strategy probe."
        )
        return TrainingError(f"There is not enough memory for a batch of {images} images.", step)


def _optimizer(network: Any, options: TrainingOptions) -> torch.optim.Optimizer:
    from timm.optim import param_groups_layer_decay

    assert options.lr is not None
    assert options.layer_decay is not None
    never = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    groups = param_groups_layer_decay(network, options.weight_decay, never, layer_decay=options.layer_decay)
    if options.opt == "sgd":
        nesterov = options.momentum > 0
        return torch.optim.SGD(groups, options.lr, momentum=options.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, options.lr, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, options: TrainingOptions, updates: int) -> Any:
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    assert options.lr is not None
    # The first update of a warm-up has a learning rate above zero, so it starts one update late.
    warmup = round(options.warmup_ratio * updates)
    settings: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": options.lr / (warmup + 1),
        "t_in_epochs": False,
    }
    if options.sched == "cosine":
        return CosineLRScheduler(optimizer, updates, **settings)
    factor = 0.1 if options.sched == "step" else 1.0
    return StepLRScheduler(optimizer, -(-updates // 3), factor, warmup_prefix=False, **settings)


def _like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A tensor as the optimizer would have made it: where and how its parameter lies in memory."""
    if tensor.shape != parameter.shape:
        return tensor.clone()
    like = torch.empty_like(parameter)
    return like.copy_(tensor)
