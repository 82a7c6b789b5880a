"""What may be set of a training of the network itself: one declaration, for the flags, the checks and the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from finetune.options import Options, option
from finetune.space import LogUniform, OneOf, Space

__all__ = ["TrainingOptions"]

_TRAINING = "Training the network (last-layers, full)"
_INPUT = "Input of the training (last-layers, full)"
_FINE = "Details of the training (last-layers, full)"

#: What a search draws from.
TRAINING_SPACE: Space = {
    "lr": LogUniform(3e-5, 3e-2),
    "weight_decay": LogUniform(1e-4, 1.0),
    "batch_size": OneOf((16, 32, 64)),
    "label_smoothing": OneOf((0.0, 0.05, 0.1), optional=True),
    "layer_decay": OneOf((0.7, 0.8, 0.9, 1.0), optional=True),
}


class TrainingOptions(Options):
    """Settings of one training. None is chosen by cross-validation or by the number of images."""

    lr: float | None = option(
        None, "Learning rate at its highest; by default the best of several.", group=_TRAINING, gt=0, le=100
    )
    epochs: int | None = option(
        None, "Passes over the images; by default by their number.", group=_TRAINING, ge=1, le=100_000
    )
    batch_size: int = option(32, "Images for each update (32).", group=_TRAINING, ge=1, le=1_000_000)
    bn: Literal["frozen", "train"] = option(
        "frozen",
        "Batch normalisation: keep the pretrained statistics (frozen, the default) or train it.",
        group=_TRAINING,
    )
    head_init: Literal["probe", "random"] = option(
        "probe", "What the classifier starts from: the probe (default) or random weights.", group=_TRAINING
    )
    augment: Literal["none", "light", "strong"] = option(
        "light", "How much views of an image differ: none, light (default) or strong.", group=_INPUT
    )
    hflip: bool = option(True, "Mirror images at random (on).", group=_INPUT)
    mixup: float | None = option(None, "Alpha of mixup; 0 for none.", group=_INPUT, ge=0, le=100)
    sampling: Literal["none", "balanced"] = option(
        "none", "balanced draws every class equally often, however many images it has.", group=_INPUT
    )
    class_weight: Literal["none", "balanced"] = option(
        "none", "balanced gives every class the same weight, however many images it has."
    )
    opt: Literal["adamw", "sgd"] = option("adamw", "Optimizer: adamw (default) or sgd.", group=_FINE)
    momentum: float = option(0.9, "Of sgd (0.9).", group=_FINE, ge=0, lt=1)
    weight_decay: float = option(0.02, "Of weights; biases have none (0.02).", group=_FINE, ge=0, le=100)
    sched: Literal["cosine", "step", "constant"] = option(
        "cosine", "Schedule of the learning rate: cosine (default), step or constant.", group=_FINE
    )
    warmup_ratio: float = option(
        0.1, "Share of the updates in which the learning rate rises (0.1).", group=_FINE, ge=0, le=0.9
    )
    layer_decay: float | None = option(
        None,
        "Each stage learns at this share of the learning rate of the one after it.",
        group=_FINE,
        ge=0.01,
        le=1,
    )
    clip_grad: float = option(1.0, "Largest norm of the gradient; 0 for no limit (1).", group=_FINE, ge=0)
    grad_accum_steps: int = option(
        1, "Parts in which a batch is computed, to save memory (1).", group=_FINE, ge=1
    )
    label_smoothing: float = option(0.0, "Label smoothing (0).", group=_FINE, ge=0, lt=1)
    model_ema_decay: float = option(
        0.0,
        "Decay of a moving average of the parameters, which is then used; 0 for none.",
        group=_FINE,
        ge=0,
        lt=1,
    )
    patience: int | None = option(
        None, "Epochs without improvement before a training stops; by default none does.", group=_FINE, ge=1
    )
    amp: bool = option(False, "Train in bfloat16: faster where the processor or GPU has it.", group=_FINE)
    tensorboard: str | None = option(
        None, "Folder for TensorBoard, where each epoch's numbers are written too.", group=_FINE
    )

    @classmethod
    def search_space(cls, given: Mapping[str, Any]) -> Space:
        """Return the ranges that a search draws from, by option."""
        return TRAINING_SPACE

    @model_validator(mode="after")
    def _accumulation_fits(self) -> Self:
        if self.grad_accum_steps > self.batch_size:
            raise ValueError(
                f"A batch of {self.batch_size} cannot be computed in {self.grad_accum_steps} parts. | "
                "Give --grad-accum-steps a number up to --batch-size."
            )
        return self
