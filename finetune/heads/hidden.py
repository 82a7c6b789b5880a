"""The probe with a hidden layer: a small network on a frozen backbone's features, trained by descent.

Where several L2 strengths are open, the one with the least loss on images not trained on is taken, as for the
linear probe; the last head is trained on all training images for as many epochs.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import TrainingError
from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.heads.descent import Descent, Lost, descend
from finetune.heads.linear import Problems, one_blas_thread
from finetune.heads.mlp import MLP
from finetune.heads.regularisation import Weigh
from finetune.method import Images, Task
from finetune.runs.saved import save_backbone
from zoo.backbone import Backbone
from zoo.parallel import in_order, threads

if TYPE_CHECKING:
    from finetune.strategies.probe import Options

__all__ = ["EPOCHS", "HIDDEN", "RATE", "HiddenProbe", "fit", "train_fold", "train_folds"]

# On the features of two data sets (docs/search.md) no worse than their neighbours.
HIDDEN, RATE, EPOCHS, MOMENTUM = 256, 2e-2, 20, 0.9

#: Tried where none is given.
STRENGTHS = (1e-1, 1e-2, 1e-3)

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HiddenProbe:
    """A trained head with a hidden layer; attributes as in :class:`finetune.method.Trained`."""

    backbone: Backbone
    head: MLP
    classes: tuple[str, ...]
    choice: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def trained_parameters(self) -> int:
        """Weights and biases of both layers."""
        return sum(p.size for p in self.head.parameters)

    def logits(self, images: Images) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""
        return self.head.scores(images.X)

    def save(self, folder: Path) -> None:
        """Write the backbone as it is, and the head beside it: timm has no form for one with two layers."""
        folder.mkdir(parents=True, exist_ok=True)
        extra = {"mlp": self.head.save(folder), "label_names": list(self.classes)}
        save_backbone(folder, self.backbone, extra)


def fit(task: Task, backbone: Backbone, options: "Options", weigh: Weigh) -> HiddenProbe:
    """Choose the L2 strength by cross-validation where it is open, and train the head.

    Parameters
    ----------
    task : Task
        Training images with their features.
    backbone : Backbone
        What the features came from; saved with the head.
    options : Options
        The probe's.
    weigh : callable
        Gives rows their weights, by their classes.

    Returns
    -------
    HiddenProbe

    Raises
    ------
    TrainingError
        If the loss is lost with every strength.
    """
    tried = {}
    pairs = task.folds.pairs
    y = task.train.labels
    truth = np.concatenate([y[rows] for _, rows in pairs])
    for l2 in STRENGTHS if options.l2 is None else (options.l2,):
        try:
            tried[l2] = np.concatenate(train_folds(task, pairs, options, l2, weigh))
        except Lost:
            continue
    if not tried:
        raise _lost(rate_of(options))
    sizes = np.cumsum([len(rows) for _, rows in pairs])[:-1]
    curve = [{"l2": l2, **_judged(scores, truth, sizes)} for l2, scores in tried.items()]
    best = min(curve, key=lambda point: point["cv_loss"])
    temperature = fit_temperature(tried[best["l2"]], truth)
    everything = np.arange(len(y))
    try:
        head, _ = train_fold(task, everything, everything[:1], options, best["l2"], weigh)
    except Lost as error:
        raise _lost(rate_of(options)) from error
    choice = {
        "loss": options.loss,
        "class_weight": options.class_weight or "none",
        "head": "mlp",
        "activation": options.activation or "relu",
        "hidden": options.hidden or HIDDEN,
        "rate": rate_of(options),
        "epochs": options.epochs or EPOCHS,
        **{key: best[key] for key in ("l2", "cv_accuracy", "cv_std")},
        "cv_folds": task.folds.n_folds,
        "temperature": temperature,
        "curve": curve,
    }
    log = [{"step": i, **point} for i, point in enumerate(curve)]
    return HiddenProbe(backbone, head.cooled(temperature), task.classes, choice, log)


def train_folds(
    task: Task, pairs: list[tuple[Rows, Rows]], options: "Options", l2: float, weigh: Weigh
) -> list[Scores]:
    """Train a head outside each fold, side by side, and return each fold's scores; raises as `train_fold`."""

    def one(pair: tuple[Rows, Rows]) -> Scores:
        return train_fold(task, *pair, options, l2, weigh)[1]

    with one_blas_thread(), closing(in_order(one, pairs, threads())) as done:
        return list(done)


def train_fold(
    task: Task,
    rows: Rows,
    held_out: Rows,
    options: "Options",
    l2: float,
    weigh: Weigh,
    enough: Callable[[int, Scores], bool] | None = None,
) -> tuple[MLP, Scores]:
    """Train a head on some rows.

    Parameters
    ----------
    task : Task
    rows, held_out : int array
        What to learn from, and what to give scores for.
    options : Options
        The probe's.
    l2 : float
        Strength of the penalty.
    weigh : callable
        As for :func:`fit`.
    enough : callable, optional
        Given how many epochs are done and the held-out rows' scores, says whether to stop.

    Returns
    -------
    MLP, (m, c) array
        The head, for features as they come, and the held-out rows' scores.

    Raises
    ------
    Lost
        If the loss is lost.
    """
    X, y = task.train.X[rows], task.train.labels[rows]
    # Standardised as for the linear probe, very small deviations floored.
    scale = Problems(X, y, np.ones((1, len(y)), np.float32), len(task.classes)).scale[0]
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    activation, hidden = options.activation or "relu", options.hidden or HIDDEN
    head = MLP.new(activation, X.shape[1], hidden, len(task.classes), task.seed)
    momentum = MOMENTUM if options.momentum is None else options.momentum
    how = Descent(rate_of(options), l2, options.epochs or EPOCHS, momentum, options.loss, seed=task.seed)
    Z = (task.train.X[held_out] - mean) / scale
    stop = (lambda epoch, head: enough(epoch, head.scores(Z))) if enough else (lambda epoch, head: False)
    head = descend(head, (X - mean) / scale, y, weigh(y).astype(np.float32), how, stop)
    return head.behind(mean, scale), np.asarray(head.scores(Z))


def rate_of(options: "Options") -> float:
    """Return the learning rate, given or by default."""
    return RATE if options.rate is None else options.rate


def _judged(scores: Scores, truth: Rows, sizes: NDArray[np.int64]) -> dict[str, float]:
    right = [part.mean() for part in np.split(scores.argmax(axis=1) == truth, sizes)]
    loss = log_loss(truth, softmax(scores / fit_temperature(scores, truth)))
    return {"cv_accuracy": float(np.mean(right)), "cv_std": float(np.std(right)), "cv_loss": loss}


def _lost(rate: float) -> TrainingError:
    return TrainingError(
        f"The loss was lost at the rate {rate:g}.",
        f"Give a lower --rate, such as {math.sqrt(0.1) * rate:.1g}.",
    )
