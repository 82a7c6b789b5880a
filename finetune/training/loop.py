"""The one training loop: epochs of updates, evaluated after each, resumable between any two.

An epoch's order, the images' views and whatever else is random are functions of the seed and of how far
the training is. So a training that continues from a checkpoint ends with the same bytes as one never stopped.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from finetune.evaluation.calibration import fit_temperature, log_losses
from finetune.training.checkpoint import Checkpoint
from finetune.training.learner import Diverged, Learner
from finetune.training.network import depthwise_in_fp32, evaluating
from finetune.training.settings import TrainingOptions
from finetune.training.sources import Rows, Source, batches
from finetune.training.team import Team
from zoo.engines.memory import freed_memory_kept
from zoo.progress import progress

__all__ = ["Job", "Outcome", "predict", "train", "update_ratio"]

#: Given the epochs' lines of the log so far, returns whether a training shall stop.
Stop = Callable[[list[dict[str, Any]]], bool]


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, whatever the options.

    Attributes
    ----------
    network : Module
        All of it; `tail` shares its modules.
    tail : Module
        The trained part.
    source : Source
        The tail's inputs.
    labels : (n,) int array
        Of the source's rows.
    n_classes : int
    seed : int
    team : Team
    show : callable
        Given the training's name and each epoch's line of the log.
    """

    network: nn.Module
    tail: nn.Module
    source: Source
    labels: NDArray[np.int64]
    n_classes: int
    seed: int
    team: Team
    show: Callable[[str, dict[str, Any]], None] = lambda name, line: None


@dataclass
class Outcome:
    """The result of a training; while it runs, how far it is.

    Attributes
    ----------
    epoch, step : int
        Epochs done, and updates done in the current one.
    sums : dict of str to float
        Of the current epoch: loss, correct, norm, images, seconds.
    first_loss : float or None
        Mean loss of the first batch.
    recent_loss : float
        Moving average over the last batches.
    log : list of dict
        One line for each epoch: ``epoch``, ``loss``, ``accuracy``, ``lr``, ``grad_norm``, ``update_ratio``,
        ``images_per_second``, and with validation rows ``validation_loss`` (the log loss at the best
        temperature) and ``validation_accuracy``.
    scores : list of (m, c) array
        Of the validation rows after each epoch.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    first_loss: float | None = None
    recent_loss: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)

    def epochs_since_best(self) -> int:
        """Return how many epochs ago the validation loss was lowest; 0 without validation rows."""
        losses = [line["validation_loss"] for line in self.log if "validation_loss" in line]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def train(
    job: Job,
    rows: Rows,
    options: TrainingOptions,
    checkpoint: Checkpoint,
    name: str,
    *,
    validation: Rows | None = None,
    until: int | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Train from the state that the network is in.

    Parameters
    ----------
    job : Job
        Its network is changed.
    rows : int array
        What to train on.
    options : TrainingOptions
        Resolved: nothing is left to be filled in.
    checkpoint : Checkpoint
        Where it continues from, and what a later one may continue from.
    name : str
        For the progress bar.
    validation : int array, optional
        Rows to evaluate after each epoch.
    until : int, optional
        Stop after this many of the epochs that the schedule is made for.
    stop : callable, optional
        Given the epochs' lines so far, returns whether to stop.

    Raises
    ------
    Diverged
        If the loss diverges; the checkpoint holds the last good state.
    """
    assert options.epochs is not None
    until = options.epochs if until is None else until
    per_epoch = len(_chunks(rows, options, job.team))
    weights = _class_weights(job.labels[rows], job.n_classes, options.class_weight == "balanced")
    updates = options.epochs * per_epoch
    bar = progress(name, until * len(rows))
    with freed_memory_kept(), depthwise_in_fp32(job.network), bar as advance:
        learner = Learner(job.network, job.tail, options, updates, weights, job.seed, job.team)
        outcome = _resumed(checkpoint, learner)
        advance(outcome.epoch * len(rows))
        while outcome.epoch < until and not _stops(outcome, options, stop):
            _epoch(job, rows, learner, outcome, checkpoint, per_epoch, advance)
            learner.use_average()
            if validation is not None:
                _evaluate(job, learner, validation, outcome)
            job.show(name, outcome.log[-1])
            learner.use_average()
            _write(checkpoint, learner, outcome)
        learner.use_average()
    return outcome


def _stops(outcome: Outcome, options: TrainingOptions, stop: Stop | None) -> bool:
    if options.patience is not None and outcome.epochs_since_best() >= options.patience:
        return True
    return stop is not None and bool(outcome.log) and stop(outcome.log)


def _epoch(
    job: Job,
    rows: Rows,
    learner: Learner,
    outcome: Outcome,
    checkpoint: Checkpoint,
    per_epoch: int,
    advance: Callable[[int], None],
) -> None:
    """Go once through the rows, from wherever in the epoch the outcome is."""
    order = _order(job, rows, learner.options, outcome.epoch)
    chunks = _chunks(order, learner.options, job.team)[outcome.step :]
    mine = [job.team.share(chunk) for chunk in chunks]
    outcome.sums = outcome.sums or dict.fromkeys(("loss", "correct", "norm", "images", "seconds"), 0.0)
    ratio = 0.0
    clock = time.perf_counter()
    for i, given in enumerate(batches(job.source, mine, outcome.epoch)):
        step = outcome.epoch * per_epoch + outcome.step
        before = _copies(learner) if i == len(mine) - 1 else []
        labels = torch.from_numpy(job.labels[mine[i]])
        loss, correct, norm = learner.update(given, labels, step, len(chunks[i]))
        ratio = update_ratio(learner, before) if before else ratio
        # Of all processes: if one alone stopped, the others would wait for its gradients.
        whole, images = job.team.sum(loss, len(mine[i]))
        _check_loss(job, outcome, whole / images, step)
        now = time.perf_counter()
        for key, value in (("loss", loss), ("correct", correct), ("norm", norm), ("images", len(mine[i]))):
            outcome.sums[key] += value
        outcome.sums["seconds"] += now - clock
        clock = now
        outcome.step += 1
        advance(len(chunks[i]))
        if checkpoint.due() and outcome.step < per_epoch:
            _write(checkpoint, learner, outcome)
    _log_epoch(job, outcome, learner, per_epoch, ratio)


def _log_epoch(job: Job, outcome: Outcome, learner: Learner, per_epoch: int, ratio: float) -> None:
    sums = outcome.sums
    loss, correct, images = job.team.sum(sums["loss"], sums["correct"], sums["images"])
    outcome.epoch += 1
    outcome.step = 0
    outcome.log.append(
        {
            "epoch": outcome.epoch,
            "loss": loss / images,
            "accuracy": correct / images,
            "lr": learner.lr,
            "grad_norm": sums["norm"] / per_epoch,
            "update_ratio": ratio,
            "images_per_second": round(images / sums["seconds"], 1),
        }
    )
    outcome.sums = {}


def _evaluate(job: Job, learner: Learner, validation: Rows, outcome: Outcome) -> None:
    scores = predict(job, learner.logits, validation)
    labels = job.labels[validation]
    outcome.log[-1] |= {
        "validation_loss": float(log_losses(scores, labels, fit_temperature(scores, labels)).mean()),
        "validation_accuracy": float((scores.argmax(axis=1) == labels).mean()),
    }
    outcome.scores.append(scores)


def predict(job: Job, logits: Callable[[torch.Tensor], torch.Tensor], rows: Rows) -> NDArray[np.float32]:
    """Return the scores of rows as they are evaluated, (n, c).

    Parameters
    ----------
    job : Job
    logits : callable
        Turns a batch of the job's inputs into scores on the CPU, such as :meth:`Learner.logits`.
    rows : int array
    """
    chunks = np.array_split(rows, max(1, -(-len(rows) // 32)))
    with evaluating(job.network):
        return np.concatenate([logits(given).numpy() for given in batches(job.source, chunks, None)])


def _check_loss(job: Job, outcome: Outcome, loss: float, step: int) -> None:
    """Stop a training whose loss is far above the first, and above chance.

    The mean over some ten batches counts, for a single batch of few images may be an unlucky one.
    """
    if outcome.first_loss is None:
        outcome.first_loss = outcome.recent_loss = loss
    outcome.recent_loss = 0.9 * outcome.recent_loss + 0.1 * loss
    if not outcome.recent_loss < 5 * max(outcome.first_loss, math.log(job.n_classes)):
        raise Diverged(
            f"The loss rose from {outcome.first_loss:.3g} to {loss:.3g} in {step + 1} updates.",
            "Try a lower --lr, a third of this one for instance, or a smaller --clip-grad.",
        )


def _order(job: Job, rows: Rows, options: TrainingOptions, epoch: int) -> Rows:
    rng = np.random.default_rng([job.seed, 1, epoch])
    if options.sampling == "balanced":
        labels = job.labels[rows]
        share = 1 / np.bincount(labels, minlength=job.n_classes)[labels]
        return rng.choice(rows, len(rows), p=share / share.sum())
    return rng.permutation(rows)


def _chunks(rows: Rows, options: TrainingOptions, team: Team) -> list[Rows]:
    """Batches; a last one too small for each process, or to normalise by, joins the one before."""
    chunks = [rows[start : start + options.batch_size] for start in range(0, len(rows), options.batch_size)]
    least = team.size * (2 if options.bn == "train" else 1)
    if len(chunks) > 1 and len(chunks[-1]) < least:
        chunks[-2:] = [np.concatenate(chunks[-2:])]
    return chunks


def _class_weights(labels: NDArray[np.int64], n_classes: int, balanced: bool) -> NDArray[np.float64]:
    counts = np.bincount(labels, minlength=n_classes)
    if not balanced:
        return np.ones(n_classes)
    return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def _copies(learner: Learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in learner.named.values()]


def update_ratio(learner: Learner, before: list[torch.Tensor]) -> float:
    """Return the norm of an update over that of the parameters before; about 1e-3 is usual (CS231n)."""
    with torch.no_grad():
        moved = torch.stack([(p - b).norm() for p, b in zip(learner.named.values(), before, strict=True)])
        whole = torch.stack([b.norm() for b in before])
    return float(moved.norm() / whole.norm().clamp(min=1e-30))


def _write(checkpoint: Checkpoint, learner: Learner, outcome: Outcome) -> None:
    tensors = learner.state()
    tensors |= {f"scores/{i}": torch.from_numpy(scores) for i, scores in enumerate(outcome.scores)}
    checkpoint.write(tensors, {k: v for k, v in vars(outcome).items() if k != "scores"})


def _resumed(checkpoint: Checkpoint, learner: Learner) -> Outcome:
    if (found := checkpoint.read()) is None:
        return Outcome()
    tensors, done = found
    try:
        learner.restore(tensors)
        scores = [tensors[f"scores/{i}"].numpy() for i in range(done["epoch"]) if f"scores/{i}" in tensors]
        return Outcome(**done, scores=scores)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # other tensors, other keys
        raise checkpoint.damaged(error) from error
