"""All checks on one data set, network and strategy."""

import os
import shlex
import time
from collections.abc import Callable
from typing import Any

from finetune.checks.contract import Finding, Subject
from finetune.checks.order import checks_for
from finetune.checks.page import write_page
from finetune.checks.record import CheckFolder, CheckRecord
from finetune.checks.subject import prepare
from finetune.methods import check_methods, load_method
from finetune.runs import environment
from finetune.strategies import STRATEGIES, make_options
from finetune.train import DEFAULT_MODEL, data_name
from zoo.backbone import load
from zoo.errors import DataError
from zoo.features.spaces import BackboneSpace
from zoo.parallel import threads
from zoo.registry.registry import Registry

__all__ = ["check", "look"]

_GRAVITY = ("pass", "warn", "fail")


def check(
    data: str | os.PathLike[str] = "demo",
    model: str = DEFAULT_MODEL,
    strategy: str = "probe",
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    engine: str = "auto",
    precision: str = "fp32",
    registry: Registry | None = None,
    command: str | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> CheckRecord:
    """Run the checks of a strategy and keep what they found.

    Parameters
    ----------
    data, model : optional
        As in :func:`finetune.train.fit`.
    strategy : str, optional
        What is meant to be trained.
    seed : int, optional
        Of the split and of anything else random.
    out : path, optional
        Where to keep the findings; by default a new folder ``runs/<data>-check-<number>``.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    registry : Registry, optional
        Where to look the model up.
    command : str, optional
        The command that repeats the check, for the record.
    say : callable, optional
        Told in one line of what the user may want to know while it runs.
    **options
        What the strategy's ``Options`` hold.

    Returns
    -------
    CheckRecord
        As written to ``check.json``.

    Raises
    ------
    ZooError
        For whatever the user has to mend before anything can be checked; nothing is left half-written.
    """
    check_methods([strategy], STRATEGIES)
    chosen = make_options(load_method(strategy), options)
    if seed < 0:
        raise DataError(f"The seed {seed} is negative.", "Give a seed from 0 upwards.")
    start = time.perf_counter()
    with CheckFolder(out) if out is not None else CheckFolder.numbered(data_name(data), "check") as folder:
        pictures = folder.work / "pictures"
        pictures.mkdir()
        space = BackboneSpace(load(model, registry=registry), engine, precision, say)
        subject = prepare(data, space, strategy, chosen, seed, pictures)
        seconds = {"features": round(time.perf_counter() - start, 3)}
        findings = look(subject, seconds)
        seconds["total"] = round(time.perf_counter() - start, 3)
        record = CheckRecord(
            status=max((finding.status for finding in findings), key=_GRAVITY.index),
            strategy=strategy,
            model=model,
            data=os.fspath(data),
            weights_sha256=subject.backbone.weights_sha256,
            n_train=len(subject.split.train),
            n_test=len(subject.split.test),
            classes=list(subject.dataset.classes),
            checks=findings,
            suspects=[{**vars(s), "flagged": s.flagged} for s in subject.suspects],
            warnings=[
                *subject.dataset.warnings,
                *filter(None, [subject.split.warning, subject.task.folds.warning]),
            ],
            seconds=seconds,
            environment=environment(threads(), subject.space.precision),
            seed=seed,
            command=command or _command(data, model, strategy, seed, options),
            path=folder.path,
        )
        write_page(record, subject.dataset, folder.work)
        text = record.model_dump_json(by_alias=True, indent=1)
        (folder.work / CheckFolder.record).write_text(text + "\n", encoding="utf-8")
    return record


def look(subject: Subject, seconds: dict[str, float] | None = None) -> list[Finding]:
    """Run all checks of the subject's strategy.

    Parameters
    ----------
    subject : Subject
    seconds : dict, optional
        Takes down how long each took.

    Returns
    -------
    list of Finding
        In the order of the checks.
    """
    seconds = {} if seconds is None else seconds
    findings: list[Finding] = []
    for entry in checks_for(subject.strategy):
        start = time.perf_counter()
        findings += entry.load()(subject)
        seconds[entry.name] = round(time.perf_counter() - start, 3)
    return findings


def _command(
    data: str | os.PathLike[str], model: str, strategy: str, seed: int, options: dict[str, Any]
) -> str:
    words = ["finetune", "check", "--data", os.fspath(data), "--model", model, "--strategy", strategy]
    words += ["--seed", str(seed)] if seed else []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list | tuple):
            words += [flag, *map(str, value)]
        else:
            words += [] if value is None else [flag, str(value)]
    return shlex.join(words)
