"""What may be set of a training of the network itself: declared once, for flags, validation and record."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from finetune.options import Options, option
from finetune.space import LogUniform, OneOf, Space

if TYPE_CHECKING:
    from finetune.training.augment import Augment

__all__ = ["INPUT", "SMALL", "TRAINING", "TrainingOptions"]

#: Fewer training images than this are soon memorised at the learning rates that suit more.
SMALL = 1_000

TRAINING = "Training the network (last-layers, full)"
INPUT = "Input of the training (last-layers, full)"
FINE = "Details of the training (last-layers, full)"

#: What a search draws from.
TRAINING_SPACE: Space = {
    "lr": LogUniform(3e-5, 3e-2),
    "weight_decay": LogUniform(1e-4, 1.0),
    "batch_size": OneOf((16, 32, 64)),
    "label_smoothing": OneOf((0.0, 0.05, 0.1), optional=True),
    "layer_decay": OneOf((0.7, 0.8, 0.9, 1.0), optional=True),
}


class TrainingOptions(Options):
    """Settings of one training. None is chosen by cross-validation or by the number of images.

    A method's own class says by `passes`, `least_epochs`, `most_epochs` and `usual_layer_decay` what is
    chosen for it.
    """

    #: Images that a training goes through in all, within so many epochs.
    passes: ClassVar[int]
    least_epochs: ClassVar[int]
    most_epochs: ClassVar[int]
    usual_layer_decay: ClassVar[float] = 1.0

    lr: float | None = option(
        None, "Learning rate at its highest; by default the best of several.", group=TRAINING, gt=0, le=100
    )
    epochs: int | None = option(
        None, "Passes over the images; by default by their number.", group=TRAINING, ge=1, le=100_000
    )
    batch_size: int = option(32, "Images for each update (32).", group=TRAINING, ge=1, le=1_000_000)
    bn: Literal["frozen", "train"] = option(
        "frozen",
        "Batch normalisation: keep the pretrained statistics (frozen, the default) or train it.",
        group=TRAINING,
    )
    head_init: Literal["probe", "random"] = option(
        "probe", "What the classifier starts from: the probe (default) or random weights.", group=TRAINING
    )
    augment: Literal["none", "light", "strong"] = option(
        "light", "Augmentation of the views of an image: none, light (default) or strong.", group=INPUT
    )
    hflip: bool = option(True, "Mirror images at random (on).", group=INPUT)
    mixup: float = option(0.0, "Alpha of mixup; 0 for none (0).", group=INPUT, ge=0, le=100)
    sampling: Literal["none", "balanced"] = option(
        "none", "balanced draws every class equally often, however many images it has.", group=INPUT
    )
    class_weight: Literal["none", "balanced"] = option(
        "none", "balanced gives every class the same weight, however many images it has."
    )
    opt: Literal["adamw", "sgd"] = option("adamw", "Optimizer: adamw (default) or sgd.", group=FINE)
    momentum: float = option(0.9, "Momentum of sgd (0.9).", group=FINE, ge=0, lt=1)
    weight_decay: float = option(0.02, "Weight decay; biases have none (0.02).", group=FINE, ge=0, le=100)
    sched: Literal["cosine", "step", "constant"] = option(
        "cosine", "Schedule of the learning rate: cosine (default), step or constant.", group=FINE
    )
    warmup_ratio: float = option(
        0.1, "Share of the updates in which the learning rate rises (0.1).", group=FINE, ge=0, le=0.9
    )
    layer_decay: float | None = option(
        None,
        "Each stage learns at this share of the learning rate of the one after it.",
        group=FINE,
        ge=0.01,
        le=1,
    )
    clip_grad: float = option(1.0, "Largest norm of the gradient; 0 for no limit (1).", group=FINE, ge=0)
    grad_accum_steps: int = option(
        1, "Parts in which a batch is computed, to save memory (1).", group=FINE, ge=1
    )
    label_smoothing: float = option(0.0, "Label smoothing (0).", group=FINE, ge=0, lt=1)
    model_ema_decay: float = option(
        0.0,
        "Decay of a moving average of the parameters, which is then used; 0 for none.",
        group=FINE,
        ge=0,
        lt=1,
    )
    patience: int | None = option(
        None, "Epochs without improvement before a training stops; by default none does.", group=FINE, ge=1
    )
    amp: bool = option(False, "Train in bfloat16: faster where the processor or GPU has it.", group=FINE)
    interpolate: bool = option(
        True,
        "Interpolate the trained weights with those that the training started from (on).",
        group=FINE,
    )
    cv: bool = option(
        False, "Cross-validate the training on all folds, which takes several times as long.", group=FINE
    )
    tensorboard: str | None = option(
        None, "Folder for TensorBoard, where each epoch's numbers are written too.", group=FINE
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

    @model_validator(mode="after")
    def _tensorboard_is_installed(self) -> Self:
        if self.tensorboard is not None and not find_spec("tensorboard"):
            raise ValueError(
                "TensorBoard is not installed. | "
                'Install it with: pip install "finetune-zoo[tensorboard]", or leave out --tensorboard.'
            )
        return self

    def learning_rates(self, n_images: int) -> tuple[float, ...]:
        """Return the learning rates that are tried for so many training images, the usual one first."""
        if self.lr is not None:
            return (self.lr,)
        return (3e-4, 1e-4, 1e-3) if n_images < SMALL else (1e-3, 3e-4, 3e-3)

    def resolved(self, n_images: int) -> Self:
        """Return the same options with everything filled in that the number of training images decides.

        The learning rate is the first that is tried, where none was given.
        """
        epochs = int(min(max(self.passes / n_images, self.least_epochs), self.most_epochs))
        usual = {
            "lr": self.learning_rates(n_images)[0],
            "epochs": epochs,
            "layer_decay": self.usual_layer_decay,
        }
        return self.model_copy(
            update={name: value for name, value in usual.items() if getattr(self, name) is None}
        )

    def augmentation(self) -> Augment | None:
        """Return how views of an image differ."""
        from finetune.training.augment import Augment

        return Augment.from_level(self.augment, self.hflip)
