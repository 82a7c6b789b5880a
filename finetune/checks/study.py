"""All checks of one data set, network and strategy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.checks.context import CheckContext
from finetune.checks.contract import CheckResult, worst
from finetune.checks.order import CHECKS
from finetune.checks.page import write_page
from finetune.checks.record import CheckFolder, CheckRecord
from finetune.experiment import Clock, Request, data_name, prepare
from finetune.methods import METHODS, find_method, make_method
from finetune.options import as_words
from finetune.runs.machine import environment
from zoo.parallel import threads
from zoo.registry.registry import load_registry

__all__ = ["check", "run_checks"]

_STRATEGIES = tuple(name for name, method in METHODS.items() if method.kind == "strategy")


def check(
    request: Request | None = None,
    strategy: str = "probe",
    *,
    out: str | os.PathLike[str] | None = None,
    registry: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
    **options: Any,
) -> CheckRecord:
    """Check images, labels and a training, and write the results.

    Parameters
    ----------
    request : Request, optional
        The images and the network, as for a training; of several networks the first is used.
    strategy : str, optional
        What is to be trained.
    out : path, optional
        Folder for the results; by default a new one, ``runs/<data>-check-<number>``.
    registry : path, optional
        A registry file in which to look the network up.
    log : callable, optional
        Given one line at a time of what the user may want to know.
    **options
        What the strategy's ``Options`` hold.

    Returns
    -------
    CheckRecord
        As written to ``check.json``.

    Raises
    ------
    ZooError
        For whatever the user has to fix before anything can be checked; then nothing is written.
    """
    find_method(strategy, _STRATEGIES)
    method, request = make_method(strategy, **options), request or Request()
    request = replace(request, models=request.models[:1])
    clock = Clock()
    words = ["finetune", "check", "--strategy", strategy, *request.words(), *as_words(options)]
    words += [] if registry is None else ["--registry", os.fspath(registry)]
    folder = CheckFolder(out) if out is not None else CheckFolder.numbered(data_name(request.data), "check")
    with folder:
        pictures = folder.work / "pictures"
        pictures.mkdir()
        loaded = None if registry is None else load_registry(Path(registry))
        experiment = prepare(request, registry=loaded, log=log, methods=[method])
        context = CheckContext(experiment, method, pictures)
        results = run_checks(context, clock)
        record = CheckRecord(
            status=worst([result.status for result in results]),
            strategy=strategy,
            model=request.models[0],
            data=request.data,
            weights_sha256=experiment.backbone.weights_sha256,
            n_train=len(experiment.split.train),
            n_test=len(experiment.split.test),
            classes=list(experiment.dataset.classes),
            checks=results,
            images=[
                {**vars(image), "likely_label_error": image.likely_label_error, "outlier": image.outlier}
                for image in context.ranking
            ],
            warnings=experiment.warnings,
            seconds={**experiment.seconds, **clock.seconds()},
            environment=environment(threads(), experiment.spaces[0].precision),
            seed=request.seed,
            command=shlex.join(words),
            path=folder.path,
        )
        write_page(record, experiment.dataset, folder.work)
        text = record.model_dump_json(by_alias=True, indent=1)
        (folder.work / CheckFolder.record).write_text(text + "\n", encoding="utf-8")
    return record


def run_checks(context: CheckContext, clock: Clock | None = None) -> list[CheckResult]:
    """Run all checks that apply, and return their results in order; `clock` times each."""
    clock = clock or Clock()
    results: list[CheckResult] = []
    for one in CHECKS:
        if one.applies(context):
            with clock.phase(one.name):
                results += one.run(context)
    return results
