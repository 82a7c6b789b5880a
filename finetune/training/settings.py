"""What a user may set of a training, and what is done where nothing is said."""

from dataclasses import dataclass

from finetune.errors import OptionError
from finetune.training.augment import Augment
from finetune.training.board import check_board
from finetune.training.choice import Plan
from finetune.training.recipe import Recipe
from zoo.engines.machine import has_bf16

__all__ = ["Settings"]

#: Fields of `Settings` that go into a recipe just as they are.
_PLAIN = (
    *("optimizer", "momentum", "weight_decay", "schedule", "warmup", "clip", "accumulate", "smoothing"),
    *("cutmix", "ema", "class_weight", "sampling", "bn", "patience"),
)


@dataclass(frozen=True)
class Settings:
    """What both strategies have in common; None is chosen by the size of the data.

    Attributes
    ----------
    rate : float or None
        Learning rate; by default the best of some.
    epochs : int or None
        The most passes over the images; fewer where more do not help on the inner validation images.
    augment : str
        One of :data:`finetune.training.augment.LEVELS`.
    flip : bool
        Whether pictures are mirrored.
    start : str
        ``probe`` or ``random``: the classifier to begin with.
    amp : bool or None
        Compute in bfloat16; by default where the processor has it.
    tensorboard : str or None
        Folder for TensorBoard, where each epoch's line is written too.
    batch, optimizer, momentum, weight_decay, schedule, warmup, layer_decay, clip, accumulate, smoothing, \
mixup, cutmix, ema, class_weight, sampling, bn, patience
        As in :class:`finetune.training.recipe.Recipe`.
    """

    rate: float | None = None
    epochs: int | None = None
    batch: int = 32
    optimizer: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.02
    schedule: str = "cosine"
    warmup: float = 0.1
    layer_decay: float | None = None
    clip: float = 1.0
    accumulate: int = 1
    smoothing: float = 0.0
    mixup: float | None = None
    cutmix: float = 0.0
    ema: float = 0.0
    class_weight: str = "none"
    sampling: str = "none"
    bn: str = "frozen"
    patience: int | None = None
    augment: str = "light"
    flip: bool = True
    start: str = "probe"
    amp: bool | None = None
    tensorboard: str | None = None

    def __post_init__(self) -> None:
        if self.start not in ("probe", "random"):
            raise OptionError(f"There is no start {self.start!r}.", "Choose probe or random.")
        Augment.of(self.augment)
        check_board(self.tensorboard)
        # Faults are found now, and not after a long computation.
        self.plan(Defaults(epochs=1, rates=(1e-3,)))

    def augmentation(self) -> Augment | None:
        """Return how views of pictures differ."""
        return Augment.of(self.augment, self.flip)

    def plan(self, defaults: "Defaults") -> Plan:
        """Return what the user set, and for all else the defaults.

        Parameters
        ----------
        defaults : Defaults
            Of the strategy, for the data.

        Raises
        ------
        OptionError
            If a value is out of its range.
        """
        recipe = Recipe(
            rate=defaults.rates[0] if self.rate is None else self.rate,
            epochs=defaults.epochs if self.epochs is None else self.epochs,
            batch=self.batch,
            layer_decay=defaults.layer_decay if self.layer_decay is None else self.layer_decay,
            mixup=defaults.mixup if self.mixup is None else self.mixup,
            amp=has_bf16() if self.amp is None else self.amp,
            **{name: getattr(self, name) for name in _PLAIN},
        )
        rates = defaults.rates if self.rate is None else (self.rate,)
        return Plan(recipe, rates, self.start, self.tensorboard)


@dataclass(frozen=True)
class Defaults:
    """What depends on the strategy and on the number of training images.

    Attributes
    ----------
    epochs, rates
        As in :class:`finetune.training.choice.Plan`.
    layer_decay, mixup
        As in :class:`finetune.training.recipe.Recipe`.
    """

    epochs: int
    rates: tuple[float, ...]
    layer_decay: float = 1.0
    mixup: float = 0.0
