"""Every method on the same held-out images and the same folds."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.compare.advice import advice, likeness
from finetune.compare.kept import Kept
from finetune.compare.measure import is_quick, measure
from finetune.compare.record import Comparison, MethodResult
from finetune.compare.tables import to_markdown
from finetune.compare.verdict import labels, like_best, pairs, ranked, verdict
from finetune.data.dataset import Dataset, fingerprint, read
from finetune.data.groups import group_by as grouped
from finetune.data.split import Folds, Split, folds, hold_out
from finetune.errors import OptionError
from finetune.method import Images, Task
from finetune.methods import check_methods, load_method, needs_backbone
from finetune.train import DEFAULT_MODEL, data_name
from zoo.backbone import Backbone, load
from zoo.errors import WeightsError
from zoo.features.extract import compute
from zoo.features.spaces import BackboneSpace, RawPixels
from zoo.registry.registry import Registry

__all__ = ["DEFAULT_METHODS", "compare"]

DEFAULT_METHODS = ("majority", "raw", "raw-knn", "knn", "svm", "probe")

#: Repetitions of the folds: of methods that predict all folds at once, and of those that fit each anew.
QUICK_REPEATS, SLOW_REPEATS = 3, 1


def compare(
    data: str | os.PathLike[str] = "demo",
    models: Sequence[str] = (DEFAULT_MODEL,),
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    repeats: int | None = None,
    n_folds: int = 5,
    group_by: str | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    engine: str = "auto",
    precision: str = "fp32",
    registry: Registry | None = None,
    say: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare methods on the same held-out images and the same folds of the rest.

    Parameters
    ----------
    data : str or path, optional
        As in :func:`finetune.data.dataset.read`.
    models : sequence of str, optional
        Networks; every method that uses one is compared on each.
    methods : sequence of str, optional
        Of :data:`finetune.methods.METHODS`.
    repeats : int, optional
        How often the training part is dealt into folds; 0 for no folds. By default 3, and 1 for methods
        that must fit every fold anew.
    n_folds : int, optional
        Folds in a repetition; fewer where a class or the groups are too few, with a warning.
    group_by : str, optional
        As in :func:`finetune.data.groups.group_by`.
    seed : int, optional
        Of the split, the folds, and anything else random.
    out : path, optional
        The comparison's folder; by default ``runs/<data>-compare``. What is in it already is not done again.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    registry : Registry, optional
        Where to look models up.
    say : callable, optional
        Told in one line of what is done.

    Returns
    -------
    Comparison

    Raises
    ------
    ZooError
        For whatever the user can mend. A network that cannot be had is left out as long as there is another.
    """
    start = time.perf_counter()
    check_methods(methods)
    _check(repeats, n_folds, seed, models, methods)
    say = say or (lambda line: None)
    dataset = read(data)
    backbones, failed = _load(models, methods, registry, say)
    kept = Kept(out if out is not None else Path("runs") / f"{data_name(data)}-compare")
    before = time.perf_counter()
    material = _material(dataset, backbones, group_by, n_folds, seed, engine, precision, say)
    seconds = {"features": round(time.perf_counter() - before, 3)}
    results = []
    for name in dict.fromkeys(methods):
        method = load_method(name)
        for backbone in backbones if needs_backbone(method) else [None]:
            rounds = (QUICK_REPEATS if is_quick(method) else SLOW_REPEATS) if repeats is None else repeats
            results.append(_result(name, method, backbone, material, rounds, kept, say))
    found = _conclude(data, material, ranked(results), failed, seed)
    seconds["total"] = round(time.perf_counter() - start, 3)
    found = found.model_copy(update={"seconds": seconds})
    kept.finish(found, to_markdown(found))
    return found


@dataclass(frozen=True, eq=False)
class _Material:
    """What all methods share."""

    dataset: Dataset
    digests: list[str]
    split: Split
    matrices: dict[str, NDArray[np.float32]]  # by network's name; "" for pixels
    identities: dict[str, dict[str, Any]]
    backbones: list[Backbone]
    n_folds: int
    seed: int
    warnings: list[str]

    @property
    def groups(self) -> NDArray[Any] | None:
        return None if self.dataset.groups is None else self.dataset.groups[self.split.train]

    def images(self, name: str, rows: NDArray[np.int64]) -> Images:
        paths = tuple(self.dataset.paths[i] for i in rows)
        return Images(paths, self.dataset.labels[rows], self.matrices[name][rows])

    def folds(self, repeats: int) -> Folds:
        y = self.dataset.labels[self.split.train]
        return folds(y, self.n_folds, self.groups, self.seed, repeats)

    def described(self) -> dict[str, Any]:
        """Everything that a result depends on besides the method and the network."""
        about = [
            [self.digests[i] for i in self.split.train],
            [self.digests[i] for i in self.split.test],
            self.dataset.labels.tolist(),
            list(self.dataset.classes),
            None if self.groups is None else self.groups.tolist(),
        ]
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        return {"data": digest, "n_folds": self.n_folds, "seed": self.seed}


def _check(
    repeats: int | None, n_folds: int, seed: int, models: Sequence[str], methods: Sequence[str]
) -> None:
    if repeats is not None and repeats < 0:
        raise OptionError(f"--repeats is {repeats}.", "Give 0 (no folds) or more.")
    if n_folds < 2:
        raise OptionError(f"--folds is {n_folds}.", "Give 2 or more.")
    if seed < 0:
        raise OptionError(f"The seed {seed} is negative.", "Give a seed from 0 upwards.")
    if not models or not methods:
        raise OptionError("There is nothing to compare.", "Name at least one model and one method.")


def _load(
    models: Sequence[str], methods: Sequence[str], registry: Registry | None, say: Callable[[str], None]
) -> tuple[list[Backbone], dict[str, str]]:
    backbones, failed = [], {}
    faults: list[WeightsError] = []
    for name in dict.fromkeys(models):
        try:
            backbones.append(load(name, registry=registry))
        except WeightsError as error:
            say(f"Left out {name}: {error}")
            failed[name] = str(error)
            faults.append(error)
    if not backbones:
        raise faults[0]
    return backbones, failed


def _material(
    dataset: Dataset,
    backbones: list[Backbone],
    by: str | None,
    n_folds: int,
    seed: int,
    engine: str,
    precision: str,
    say: Callable[[str], None],
) -> _Material:
    spaces = [BackboneSpace(backbone, engine, precision, say) for backbone in backbones]
    found = compute(dataset.paths, [*spaces, RawPixels()])
    places = list(found.skipped)
    dataset = dataset.drop(places, [found.skipped[i].reason for i in places])
    warnings = list(dataset.warnings)
    if places:
        warnings.append(f"{len(places)} files are no readable images and were left out.")
    if by is not None:
        dataset = grouped(dataset, by)
    split = hold_out(dataset.labels, dataset.parts, dataset.groups, seed=seed, parts_from=dataset.parts_from)
    warnings += filter(None, [split.warning, *_group_warnings(dataset, split, n_folds)])
    if dataset.groups is not None:
        n_folds = min(n_folds, len(np.unique(dataset.groups[split.train])))
    names = [*(backbone.name for backbone in backbones), ""]
    material = _Material(
        dataset=dataset,
        digests=found.digests,
        split=split,
        matrices=dict(zip(names, found.matrices, strict=True)),
        identities={space.backbone.name: space.identity for space in spaces},
        backbones=backbones,
        n_folds=n_folds,
        seed=seed,
        warnings=warnings,
    )
    if warning := material.folds(1).warning:
        warnings.append(warning)
    return material


def _group_warnings(dataset: Dataset, split: Split, n_folds: int) -> list[str]:
    if dataset.groups is None:
        return []
    train, test = (set(dataset.groups[rows].tolist()) for rows in (split.train, split.test))
    said = []
    if len(train) < n_folds:
        said.append(f"{len(train)} folds instead of {n_folds}, because there are only {len(train)} groups.")
    if both := train & test:
        said.append(
            f"{len(both)} groups ({sorted(both)[0]} for one) have images on both sides of the data's own "
            "split: the held-out accuracy may be too good."
        )
    return said


def _result(
    name: str,
    method: Any,
    backbone: Backbone | None,
    material: _Material,
    repeats: int,
    kept: Kept,
    say: Callable[[str], None],
) -> MethodResult:
    space = "" if backbone is None else backbone.name
    asked = {**material.described(), "repeats": repeats, "method": name, "options": vars(method.Options())}
    asked["features"] = material.identities.get(space)
    found = kept.find(name, asked)
    if found is not None:
        return found.model_copy(update={"model": space or None})
    train = material.images(space, material.split.train)
    task = Task(train, material.folds(1), material.dataset.classes, material.seed)
    outer = material.folds(repeats) if repeats else None
    test = material.images(space, material.split.test)
    found = measure(name, method, task, test, outer, backbone, material.groups)
    kept.keep(found, asked)
    say(f"{name}{f' on {space}' if space else ''}: {found.test.accuracy:.1%}, {found.seconds:.1f} s")
    return found


def _conclude(
    data: str | os.PathLike[str],
    material: _Material,
    results: list[MethodResult],
    failed: dict[str, str],
    seed: int,
) -> Comparison:
    dataset, split = material.dataset, material.split
    tested = pairs(results)
    y = dataset.labels[split.train]
    alike = likeness(
        material.matrices[material.backbones[0].name][split.train], material.matrices[""][split.train], y
    )
    images_a_class = int(np.median(np.bincount(y, minlength=len(dataset.classes))))
    return Comparison(
        data=os.fspath(data),
        fingerprint=fingerprint(dataset, material.digests),
        n_train=len(split.train),
        n_test=len(split.test),
        n_classes=len(dataset.classes),
        split=split.kind,
        methods=results,
        best=labels(results)[0],
        like_best=like_best(results, tested),
        pairs=tested,
        verdict=verdict(results, tested),
        advice=advice(results, tested, images_a_class, alike),
        failed=failed,
        warnings=material.warnings,
        seconds={},
        seed=seed,
    )
