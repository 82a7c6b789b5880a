"""Is what is frozen frozen, and does what learns move? One update tells.

All parameters and buffers are compared byte by byte with what they were before. Besides the update, pictures
go through the whole network in the mode that it trains in: a batch normalisation that was left in training
mode would follow their statistics.
"""

import dataclasses

import torch

from finetune.checks.contract import Finding, Status, Subject
from finetune.checks.network.part import SIDE, NetworkPart
from finetune.training.recipe import Recipe

__all__ = ["check"]

BATCH = 8

#: How batch normalisations' statistics are called.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def check(subject: Subject) -> list[Finding]:
    """Make one update and compare.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``what is frozen`` and ``what learns``.
    """
    part = subject.network
    moved = _moved(part)
    expected = part.trained | _following(part)
    strayed = sorted(moved - expected)
    still = sorted(part.trained - moved)
    names = {name for name, _ in part.ready.network.named_parameters()}
    return [_frozen(names - part.trained, strayed), _learning(part.trained, still)]


def _moved(part: NetworkPart) -> set[str]:
    """Names of the tensors that an update changes."""
    part.begin("random")  # the probe may leave so little to learn that its gradients round to zero
    network, rows = part.ready.network, part.rows(BATCH)
    before = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        network(part.images(BATCH).to(next(network.parameters()).device))
    labels = torch.from_numpy(part.task.train.labels[rows])
    with part.learner(_usual(part)) as learner:
        learner.update(part.job(SIDE).source.batch(rows, None), labels, 0, len(rows))
    after = network.state_dict()
    return {name for name, tensor in before.items() if not _same(tensor, after[name])}


def _usual(part: NetworkPart) -> Recipe:
    """The strategy's recipe at its own rate, for a user's is another check's matter."""
    return dataclasses.replace(part.plan.recipe, rate=part.usual_rate)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have the same bytes; numbers would do, but for NaN and -0."""
    one, two = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(one, two)


def _following(part: NetworkPart) -> set[str]:
    """Names of the statistics that are to follow the batches: of what learns, if the user wants that."""
    if part.plan.recipe.bn != "train":
        return set()
    names = part.ready.network.state_dict().keys()
    return {
        name
        for name in names
        if name.endswith(_STATISTICS) and f"{name.rpartition('.')[0]}.weight" in part.trained
    }


def _frozen(frozen: set[str], strayed: list[str]) -> Finding:
    return Finding(
        check="frozen",
        name="what is frozen",
        status="fail" if strayed else "pass",
        value=len(strayed),
        threshold="no frozen parameter and no statistic of a batch normalisation changed by a byte",
        meaning=f"An update changed {_some(strayed)}, which should be frozen."
        if strayed
        else f"{len(frozen)} frozen tensors and all statistics are the same bytes after an update.",
        todo="Look at what is frozen: a parameter that asks for gradients, or a module in training mode."
        if strayed
        else "",
        details=[{"tensor": name} for name in strayed],
    )


def _learning(trained: set[str], still: list[str]) -> Finding:
    status: Status = "fail" if len(still) == len(trained) else "warn" if still else "pass"
    return Finding(
        check="frozen",
        name="what learns",
        status=status,
        value=len(trained) - len(still),
        threshold=f"all {len(trained)} tensors that are to learn moved",
        meaning=f"An update left {_some(still)} where it was." if still else "An update moved all of them.",
        todo="Look for a layer that nothing passes through (activations), or that is cut off from the loss."
        if still
        else "",
        details=[{"tensor": name} for name in still],
    )


def _some(names: list[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
