"""The one training loop: epochs of updates, looked at after each, resumable between any two.

An epoch's order, its pictures' views and whatever else is random are functions of the seed and of how far
the training is. So a training that goes on from a checkpoint ends with the same bytes as one never stopped.
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

from finetune.evaluation.calibration import fit_temperature, softmax
from finetune.evaluation.metrics import log_loss
from finetune.training.checkpoint import Leg
from finetune.training.learner import Diverged, Learner
from finetune.training.recipe import Recipe
from finetune.training.sources import Rows, Source, batches
from finetune.training.team import Team
from zoo.progress import progress

__all__ = ["Job", "Outcome", "train", "update_ratio"]


@dataclass(frozen=True, eq=False)
class Job:
    """What a training is done with, whatever its recipe.

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
    classes : int
        How many there are.
    seed : int
    team : Team
    say : callable
        Told in one line of what the user should know.
    show : callable
        Given the training's name and each epoch's line.
    """

    network: nn.Module
    tail: nn.Module
    source: Source
    labels: NDArray[np.int64]
    classes: int
    seed: int
    team: Team
    say: Callable[[str], None]
    show: Callable[[str, dict[str, Any]], None] = lambda name, line: None


@dataclass
class Outcome:
    """What came of a training; while it goes on, how far it is.

    Attributes
    ----------
    epoch, step : int
        Epochs done, and updates done in the one that goes on.
    sums : dict of str to float
        Of the epoch that goes on: loss, correct, norm, images, seconds.
    first_loss : float or None
        Mean loss of the first batch.
    recent_loss : float
        Mean of the last batches, later ones counting more.
    log : list of dict
        A line an epoch.
    best : int
        How many epochs were best on the validation rows; all of them without such rows.
    judged : float
        The validation rows' log loss then, at the best temperature.
    scores : list of (m, c) array
        Theirs after each epoch.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    first_loss: float | None = None
    recent_loss: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    judged: float = math.inf
    scores: list[NDArray[np.float32]] = field(default_factory=list)

    def stale(self) -> int:
        """Return how many epochs have gone by since the best."""
        return self.epoch - self.best


def train(
    job: Job,
    rows: Rows,
    recipe: Recipe,
    leg: Leg,
    name: str,
    *,
    validation: Rows | None = None,
    until: int | None = None,
    hopeless: Callable[[list[dict[str, Any]]], bool] = lambda log: False,
) -> Outcome:
    """Train from where the network stands.

    Parameters
    ----------
    job : Job
        Its network is changed.
    rows : int array
        What to learn from.
    recipe : Recipe
    leg : Leg
        Where it goes on from, and what it can be gone on from later.
    name : str
        What the progress bar calls it.
    validation : int array, optional
        Rows to look at after each epoch; with them it ends early when it gets no better.
    until : int, optional
        Stop after this many epochs of those that the schedule is laid out for.
    hopeless : callable, optional
        Given the epochs' lines so far, says whether to stop.

    Returns
    -------
    Outcome

    Raises
    ------
    Diverged
        If the loss is lost; the leg's file holds the last good state.
    """
    until = recipe.epochs if until is None else until
    patience = until if recipe.patience is None else recipe.patience
    per_epoch = len(_chunks(rows, recipe, job.team))
    weights = _class_weights(job.labels[rows], job.classes, recipe.class_weight == "balanced")
    learner = Learner(
        job.network, job.tail, recipe, recipe.epochs * per_epoch, weights, job.seed, job.team, job.say
    )
    outcome = _resumed(leg, learner)
    with progress(name, until * len(rows)) as advance:
        advance(outcome.epoch * len(rows))
        while outcome.epoch < until and outcome.stale() < patience and not hopeless(outcome.log):
            _epoch(job, rows, recipe, learner, outcome, leg, per_epoch, advance)
            if recipe.ema:
                learner.use_average()
            if validation is not None:
                _look(job, learner, validation, recipe, outcome)
            else:
                outcome.best = outcome.epoch
            job.show(name, outcome.log[-1])
            last = outcome.epoch == until
            if recipe.ema and not last:
                learner.use_average()
            _write(leg, learner, outcome)
    return outcome


def _epoch(
    job: Job,
    rows: Rows,
    recipe: Recipe,
    learner: Learner,
    outcome: Outcome,
    leg: Leg,
    per_epoch: int,
    advance: Callable[[int], None],
) -> None:
    """Go once through the rows, from wherever in the epoch the outcome is."""
    order = _order(job, rows, recipe, outcome.epoch)
    chunks = _chunks(order, recipe, job.team)[outcome.step :]
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
        # Of all processes: one that gave up alone would leave the others waiting for its gradients.
        whole, images = job.team.sum(loss, len(mine[i]))
        _watch(job, outcome, whole / images, step)
        now = time.perf_counter()
        for key, value in (("loss", loss), ("correct", correct), ("norm", norm), ("images", len(mine[i]))):
            outcome.sums[key] += value
        outcome.sums["seconds"] += now - clock
        clock = now
        outcome.step += 1
        advance(len(chunks[i]))
        if leg.due() and outcome.step < per_epoch:
            _write(leg, learner, outcome)
    _close(job, outcome, learner, per_epoch, ratio)


def _close(job: Job, outcome: Outcome, learner: Learner, per_epoch: int, ratio: float) -> None:
    """Write the epoch's line."""
    sums = outcome.sums
    loss, correct, images = job.team.sum(sums["loss"], sums["correct"], sums["images"])
    outcome.epoch += 1
    outcome.step = 0
    outcome.log.append(
        {
            "epoch": outcome.epoch,
            "loss": loss / images,
            "accuracy": correct / images,
            "rate": learner.rate,
            "grad_norm": sums["norm"] / per_epoch,
            "update_ratio": ratio,
            "images_per_second": round(images / sums["seconds"], 1),
        }
    )
    outcome.sums = {}


def _look(job: Job, learner: Learner, validation: Rows, recipe: Recipe, outcome: Outcome) -> None:
    """See how the validation rows fare."""
    logits = predict(job, learner, validation, recipe)
    labels = job.labels[validation]
    temperature = fit_temperature(logits, labels)
    judged = log_loss(labels, softmax(logits / temperature))
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    outcome.log[-1] |= {"validation_loss": judged, "validation_accuracy": accuracy}
    outcome.scores.append(logits)
    if judged < outcome.judged:
        outcome.best, outcome.judged = outcome.epoch, judged


def predict(job: Job, learner: Learner, rows: Rows, recipe: Recipe) -> NDArray[np.float32]:
    """Return the scores of rows as they are evaluated, (n, c)."""
    modes = [(module, module.training) for module in job.network.modules()]
    job.network.eval()
    chunks = np.array_split(rows, max(1, -(-len(rows) // max(32, recipe.batch))))
    scores = [learner.logits(given).numpy() for given in batches(job.source, chunks, None)]
    for module, training in modes:
        module.training = training
    return np.concatenate(scores)


def _watch(job: Job, outcome: Outcome, loss: float, step: int) -> None:
    """Stop what cannot come to anything: a loss far above the first, and above guessing.

    The mean over some ten batches counts, for a single batch of few images may be an unlucky one.
    """
    if outcome.first_loss is None:
        outcome.first_loss = outcome.recent_loss = loss
    outcome.recent_loss = 0.9 * outcome.recent_loss + 0.1 * loss
    if not outcome.recent_loss < 5 * max(outcome.first_loss, math.log(job.classes)):
        raise Diverged(
            f"The loss rose from {outcome.first_loss:.3g} to {loss:.3g} in {step + 1} updates.",
            "Try a lower --rate, a third of this one for instance, or a smaller --clip.",
        )


def _order(job: Job, rows: Rows, recipe: Recipe, epoch: int) -> Rows:
    rng = np.random.default_rng([job.seed, 1, epoch])
    if recipe.sampling == "balanced":
        labels = job.labels[rows]
        share = 1 / np.bincount(labels, minlength=job.classes)[labels]
        return rng.choice(rows, len(rows), p=share / share.sum())
    return rng.permutation(rows)


def _chunks(rows: Rows, recipe: Recipe, team: Team) -> list[Rows]:
    """Batches; a last one too small for each process, or to normalise by, joins the one before."""
    chunks = [rows[start : start + recipe.batch] for start in range(0, len(rows), recipe.batch)]
    least = team.size * (2 if recipe.bn == "train" else 1)
    if len(chunks) > 1 and len(chunks[-1]) < least:
        chunks[-2:] = [np.concatenate(chunks[-2:])]
    return chunks


def _class_weights(labels: NDArray[np.int64], classes: int, balanced: bool) -> NDArray[np.float64]:
    counts = np.bincount(labels, minlength=classes)
    if not balanced:
        return np.ones(classes)
    return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def _copies(learner: Learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in learner.named.values()]


def update_ratio(learner: Learner, before: list[torch.Tensor]) -> float:
    """Return the length of an update over that of the parameters before; about 1e-3 is usual (CS231n)."""
    with torch.no_grad():
        moved = torch.stack([(p - b).norm() for p, b in zip(learner.named.values(), before, strict=True)])
        whole = torch.stack([b.norm() for b in before])
    return float(moved.norm() / whole.norm().clamp(min=1e-30))


def _write(leg: Leg, learner: Learner, outcome: Outcome) -> None:
    tensors = learner.state()
    tensors |= {f"scores/{i}": torch.from_numpy(scores) for i, scores in enumerate(outcome.scores)}
    leg.write(tensors, {k: v for k, v in vars(outcome).items() if k != "scores"})


def _resumed(leg: Leg, learner: Learner) -> Outcome:
    if (found := leg.read()) is None:
        return Outcome()
    tensors, done = found
    learner.restore(tensors)
    scores = [tensors[f"scores/{i}"].numpy() for i in range(done["epoch"]) if f"scores/{i}" in tensors]
    return Outcome(**done, scores=scores)
