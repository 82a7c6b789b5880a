"""How a training goes: everything that the loop is told, and sensible values of it."""

from dataclasses import dataclass

from finetune.errors import OptionError

__all__ = ["OPTIMIZERS", "SCHEDULES", "Recipe"]

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "step", "constant")


@dataclass(frozen=True)
class Recipe:
    """One training.

    Attributes
    ----------
    rate : float
        Learning rate at its highest.
    epochs : int
        Passes over the training images that the schedule is laid out for.
    batch : int
        Images for each update of the parameters.
    optimizer : str
        ``adamw`` (Loshchilov and Hutter 2019) or ``sgd`` with Nesterov momentum.
    momentum : float
        Of sgd.
    weight_decay : float
        Of weight matrices and kernels; biases and normalisations have none.
    schedule : str
        ``cosine`` to zero, ``step`` (a tenth after each third), or ``constant``.
    warmup : float
        Share of all updates in which the rate rises from nothing.
    layer_decay : float
        Each stage learns at this share of the rate of the stage behind it.
    clip : float
        Longest gradient; 0 for any.
    accumulate : int
        Parts that a batch is worked through in, for it to need less memory.
    smoothing : float
        Share of the label that is spread over all classes (Szegedy et al. 2016).
    mixup, cutmix : float
        The alpha of each (Zhang et al. 2018, Yun et al. 2019); 0 for none.
    ema : float
        Decay of the moving average that is kept of the parameters, and used in the end; 0 for none.
    class_weight : str
        ``balanced``: every class counts the same in the loss.
    sampling : str
        ``balanced``: every class is drawn as often.
    bn : str
        ``frozen`` or ``train``.
    amp : bool
        Compute in bfloat16 where that is safe (autocast).
    patience : int or None
        Epochs without improvement on the inner validation images before a training is stopped; None goes
        through the whole schedule, for only at its end is the rate low and the loss steady.
    """

    rate: float
    epochs: int
    batch: int = 32
    optimizer: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.02
    schedule: str = "cosine"
    warmup: float = 0.1
    layer_decay: float = 1.0
    clip: float = 1.0
    accumulate: int = 1
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    class_weight: str = "none"
    sampling: str = "none"
    bn: str = "frozen"
    amp: bool = False
    patience: int | None = None

    def __post_init__(self) -> None:
        for faulty, what, may_be in self._faults():
            if faulty:
                raise OptionError(what, may_be)

    def _faults(self) -> list[tuple[bool, str, str]]:
        def outside(name: str, low: float, high: float, words: str) -> tuple[bool, str, str]:
            value = getattr(self, name)
            # `not` and not `or`, so that nan is outside too
            return (
                not low <= value <= high,
                f"The {name.replace('_', ' ')} {value:g} is no use.",
                f"Give --{name.replace('_', '-')} {words}.",
            )

        def unknown(name: str, known: tuple[str, ...]) -> tuple[bool, str, str]:
            value = getattr(self, name)
            return value not in known, f"There is no {name} {value!r}.", f"Choose one of {', '.join(known)}."

        return [
            outside("rate", 1e-12, 100, "a number above 0, such as 0.001"),
            outside("epochs", 1, 100_000, "a whole number from 1 upwards"),
            outside("batch", 1, 1_000_000, "a whole number from 1 upwards"),
            outside("momentum", 0, 0.9999, "a number from 0 up to less than 1"),
            outside("weight_decay", 0, 100, "a number from 0 upwards"),
            outside("warmup", 0, 0.9, "a share of the updates, from 0 to 0.9"),
            outside("layer_decay", 0.01, 1, "a number from 0.01 to 1"),
            outside("clip", 0, 1e9, "a number from 0 upwards"),
            outside("accumulate", 1, self.batch, "a whole number from 1 to the batch"),
            outside("smoothing", 0, 0.99, "a number from 0 up to less than 1"),
            outside("mixup", 0, 100, "a number from 0 upwards, such as 0.2"),
            outside("cutmix", 0, 100, "a number from 0 upwards, such as 1"),
            outside("ema", 0, 0.999999, "a number from 0 up to less than 1, such as 0.99"),
            *(
                []
                if self.patience is None
                else [outside("patience", 1, 100_000, "a whole number from 1 upwards")]
            ),
            unknown("optimizer", OPTIMIZERS),
            unknown("schedule", SCHEDULES),
            unknown("class_weight", ("none", "balanced")),
            unknown("sampling", ("none", "balanced")),
            unknown("bn", ("frozen", "train")),
        ]
