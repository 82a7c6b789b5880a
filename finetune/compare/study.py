"""Every method on the same held-out images and the same folds."""

import hashlib
import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.compare.advice import advice
from finetune.compare.cache import ResultCache
from finetune.compare.measure import measure
from finetune.compare.page import page
from finetune.compare.record import Comparison, MethodResult
from finetune.compare.tables import to_markdown
from finetune.compare.verdict import labels, like_best, pairs, ranked, verdict
from finetune.data.dataset import fingerprint
from finetune.errors import OptionError
from finetune.experiment import Experiment, Request, data_name, prepare
from finetune.likeness import images_a_class, likeness
from finetune.method import Method
from finetune.methods import make_method
from finetune.runs.machine import environment
from zoo.backbone import Backbone
from zoo.errors import WeightsError
from zoo.parallel import threads
from zoo.registry.registry import Registry

__all__ = ["DEFAULT_METHODS", "compare"]

DEFAULT_METHODS = ("majority", "raw", "raw-knn", "knn", "svm", "probe", "kernel")

#: Repetitions of the folds: of methods that predict all folds at once, and of those that fit each anew.
QUICK_REPEATS, SLOW_REPEATS = 3, 1


def compare(
    request: Request | None = None,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    repeats: int | None = None,
    out: str | os.PathLike[str] | None = None,
    registry: Registry | None = None,
    log: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare methods on the same images.

    Parameters
    ----------
    request : Request, optional
        The images and networks; every method that uses a network is compared on each of them.
    methods : sequence of str, optional
        Of :data:`finetune.methods.METHODS`.
    repeats : int, optional
        Repetitions of the cross-validation; 0 for none. By default 3, and 1 for methods
        that must fit every fold anew.
    out : path, optional
        The comparison's folder; by default ``runs/<data>-compare``. Results in it are not computed again.
    registry : Registry, optional
        Where to look models up.
    log : callable, optional
        Given one line at a time of what is done.

    Raises
    ------
    ZooError
        For whatever the user can fix. A network that is unavailable is left out as long as there is another.
    """
    start = time.perf_counter()
    request, log = request or Request(), log or (lambda line: None)
    if repeats is not None and repeats < 0:
        raise OptionError(f"--repeats is {repeats}.", "Give 0 (no folds) or more.")
    if not request.models or not methods:
        raise OptionError("There is nothing to compare.", "Name at least one model and one method.")
    made = [make_method(name) for name in dict.fromkeys(methods)]
    backbones, failed = _load(request.models, registry, log)
    cache = ResultCache(out if out is not None else Path("runs") / f"{data_name(request.data)}-compare")
    request = replace(request, models=tuple(backbone.name for backbone in backbones))
    experiment = prepare(request, log=log, backbones=backbones, methods=made)
    results = []
    for method in made:
        rounds = (QUICK_REPEATS if method.shares_folds else SLOW_REPEATS) if repeats is None else repeats
        for backbone in experiment.backbones if method.inputs == "features" else [None]:
            results.append(_result(method, backbone, experiment, rounds, cache))
    found = _conclude(experiment, ranked(results), failed)
    seconds = {**experiment.seconds, "total": round(time.perf_counter() - start, 3)}
    found = found.model_copy(update={"seconds": seconds})
    made_on = environment(threads(), experiment.spaces[0].precision if experiment.spaces else None)
    words = ["finetune", "compare", *request.words(), "--methods", *(method.name for method in made)]
    words += [] if repeats is None else ["--repeats", str(repeats)]
    cache.finish(found, to_markdown(found), page(found, shlex.join(words), made_on))
    return found


def _load(
    models: Sequence[str], registry: Registry | None, log: Callable[[str], None]
) -> tuple[list[Backbone], dict[str, str]]:
    from zoo.backbone import load

    backbones, failed = [], {}
    faults: list[WeightsError] = []
    for name in dict.fromkeys(models):
        try:
            backbones.append(load(name, registry=registry))
        except WeightsError as error:
            log(f"Left out {name}: {error}")
            failed[name] = str(error)
            faults.append(error)
    if not backbones:
        raise faults[0]
    return backbones, failed


def _result(
    method: Method, backbone: Backbone | None, experiment: Experiment, repeats: int, cache: ResultCache
) -> MethodResult:
    name = None if backbone is None else backbone.name
    key = {**_key(method, experiment), "repeats": repeats}
    key["features"] = None if backbone is None else experiment.identity(method, backbone)
    found = cache.find(method.name, key)
    if found is not None:
        return found.model_copy(update={"model": name})
    outer = experiment.repeated_folds(repeats) if repeats else None
    held_out = experiment.held_out(method, backbone)
    found = measure(method, experiment.task(method, backbone), held_out, outer, backbone, cache.folder)
    cache.store(found, key)
    experiment.log(
        f"{method.name}{f' on {name}' if name else ''}: {found.test.accuracy:.1%}, {found.seconds:.1f} s"
    )
    return found


def _key(method: Method, experiment: Experiment) -> dict[str, Any]:
    """Everything that a result depends on besides the network."""
    dataset, split, request = experiment.dataset, experiment.split, experiment.request
    about = [
        [experiment.digests[i] for i in split.train],
        [experiment.digests[i] for i in split.test],
        dataset.labels.tolist(),
        list(dataset.classes),
        None if dataset.groups is None else dataset.groups.tolist(),
    ]
    return {
        "data": hashlib.sha256(json.dumps(about).encode()).hexdigest(),
        "n_folds": experiment.folds.n_folds,
        "seed": request.seed,
        "engine": request.engine,
        "precision": request.precision,
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "versions": environment(threads()).versions,
    }


def _conclude(experiment: Experiment, results: list[MethodResult], failed: dict[str, str]) -> Comparison:
    dataset, split = experiment.dataset, experiment.split
    tested = pairs(results, None if dataset.groups is None else dataset.groups[split.test])
    y = dataset.labels[split.train]
    features = experiment.matrices[experiment.backbone.name]
    alike = likeness(features[split.train], experiment.matrices["pixels"][split.train], y)
    amount = images_a_class(y, len(dataset.classes))
    return Comparison(
        data=experiment.request.data,
        fingerprint=fingerprint(dataset, experiment.digests),
        n_train=len(split.train),
        n_test=len(split.test),
        n_classes=len(dataset.classes),
        split=split.kind,
        methods=results,
        best=labels(results)[0],
        like_best=like_best(results, tested),
        pairs=tested,
        verdict=verdict(results, tested),
        advice=advice(results, tested, amount, alike),
        failed=failed,
        warnings=experiment.warnings,
        seconds={},
        seed=experiment.request.seed,
    )
