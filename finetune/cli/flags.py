"""The command line's words for what a user may set of a training, in one place for all commands."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter

__all__ = ["ProbeFlags", "TrainingFlags", "given"]

_TRAINING = Group("Training the network itself (last-layers, full)", sort_key=10)
_FEEDING = Group("What it is trained on (last-layers, full)", sort_key=11)
_FINE = Group("Details of the training (last-layers, full)", sort_key=12)


def _flag(group: Group, text: str, **more: Any) -> Parameter:
    return Parameter(group=group, help=text, show_default=False, **more)


@Parameter(name="*")
@dataclass(frozen=True)
class ProbeFlags:
    """What a user may set of a probe, and of others where they have it."""

    loss: Annotated[
        str | None, Parameter(help="probe: softmax (the default) or hinge, the multi-class SVM loss.")
    ] = None
    class_weight: Annotated[
        str | None, Parameter(help="balanced lets every class count the same, however many images it has.")
    ] = None
    head: Annotated[
        str | None,
        Parameter(help="probe: linear (the default), or mlp for a hidden layer (and --rate, --epochs)."),
    ] = None
    l2: Annotated[
        float | None, Parameter(help="probe: strength of the penalty, instead of the best of some.")
    ] = None
    activation: Annotated[
        str | None, Parameter(help="probe, mlp: relu (the default), leaky_relu, elu, tanh or maxout.")
    ] = None
    hidden: Annotated[int | None, Parameter(help="probe, mlp: units of the hidden layer (256).")] = None


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingFlags:
    """What a user may set of a network's training; what is None is chosen by the size of the data."""

    layers: Annotated[int | None, _flag(_TRAINING, "last-layers: stages that learn beside the head (1).")] = (
        None
    )
    unfreeze: Annotated[
        tuple[str, ...] | None,
        _flag(
            _TRAINING,
            "last-layers: parameters that learn instead, as 'blocks.5.*'.",
            consume_multiple=True,
            negative="",
        ),
    ] = None
    rate: Annotated[float | None, _flag(_TRAINING, "Learning rate, instead of the best of some.")] = None
    epochs: Annotated[int | None, _flag(_TRAINING, "The most passes over the images.")] = None
    batch: Annotated[int | None, _flag(_TRAINING, "Images an update (32).")] = None
    bn: Annotated[
        str | None,
        _flag(
            _TRAINING, "Batch normalisations that learn: keep the pretraining's statistics (frozen) or train."
        ),
    ] = None
    start: Annotated[
        str | None, _flag(_TRAINING, "What the classifier begins as: the probe's (probe) or random.")
    ] = None

    augment: Annotated[
        str | None, _flag(_FEEDING, "How views of a picture differ: none, light (default) or strong.")
    ] = None
    flip: Annotated[bool | None, _flag(_FEEDING, "Whether pictures are mirrored (they are).")] = None
    views: Annotated[int | None, _flag(_FEEDING, "last-layers: views of each picture (8).")] = None
    size: Annotated[
        int | None,
        _flag(_FEEDING, "full: pixels a side; by default the network's, or less for small pictures."),
    ] = None
    first_size: Annotated[
        int | None, _flag(_FEEDING, "full: pixels a side in the first half of the epochs.")
    ] = None
    mixup: Annotated[float | None, _flag(_FEEDING, "Alpha of mixup (0: none).")] = None
    cutmix: Annotated[float | None, _flag(_FEEDING, "full: alpha of cutmix (0: none).")] = None
    sampling: Annotated[
        str | None, _flag(_FEEDING, "balanced draws every class as often, however many images it has.")
    ] = None

    optimizer: Annotated[str | None, _flag(_FINE, "adamw (default) or sgd.")] = None
    momentum: Annotated[float | None, _flag(_FINE, "Of sgd (0.9).")] = None
    weight_decay: Annotated[float | None, _flag(_FINE, "Of weights; biases have none (0.02).")] = None
    schedule: Annotated[str | None, _flag(_FINE, "Of the rate: cosine (default), step or constant.")] = None
    warmup: Annotated[float | None, _flag(_FINE, "Share of the updates in which the rate rises (0.1).")] = (
        None
    )
    layer_decay: Annotated[
        float | None, _flag(_FINE, "Each layer learns at this share of the rate of the one behind it.")
    ] = None
    clip: Annotated[float | None, _flag(_FINE, "Longest gradient; 0 for any (1).")] = None
    accumulate: Annotated[
        int | None, _flag(_FINE, "Parts that a batch is worked through in, to save memory.")
    ] = None
    smoothing: Annotated[float | None, _flag(_FINE, "Label smoothing (0).")] = None
    ema: Annotated[
        float | None, _flag(_FINE, "Decay of a moving average of the parameters, used in the end (0: none).")
    ] = None
    patience: Annotated[
        int | None, _flag(_FINE, "Epochs without improvement before a training is stopped (none is).")
    ] = None
    tensorboard: Annotated[
        str | None, _flag(_FINE, "Folder for TensorBoard, where each epoch's numbers are written too.")
    ] = None
    amp: Annotated[bool | None, _flag(_FINE, "Train in bfloat16; by default where the processor has it.")] = (
        None
    )


def given(*flags: Any) -> dict[str, Any]:
    """Return what was set, by name."""
    pairs = [(f.name, getattr(group, f.name)) for group in flags if group for f in dataclasses.fields(group)]
    return {name: value for name, value in pairs if value is not None}
