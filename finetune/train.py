"""From a labelled folder to a finished run."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.data_record import copies_record, data_record, reference, split_record
from finetune.experiment import DEFAULT_MODEL, Clock, Experiment, Request, data_name, prepare
from finetune.hint import hint
from finetune.method import Fitted, Method, Task
from finetune.methods import find_method, make_method
from finetune.options import as_words
from finetune.report import write_map, write_report
from finetune.runs import (
    Leaderboard,
    MetricsLog,
    Run,
    RunFolder,
    Unfinished,
    environment,
    write_predictions,
)
from finetune.runs.readme import write_readme
from finetune.trust import Assessment, Knowledge, assess
from zoo.parallel import threads
from zoo.registry.registry import Registry, load_registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.backbone import Backbone

__all__ = ["Made", "fit", "is_follower", "resume", "write_run"]


def fit(
    data: str | os.PathLike[str] = "demo",
    model: str = DEFAULT_MODEL,
    strategy: str = "probe",
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    group_by: str | None = None,
    folds: int = 5,
    strict: bool = False,
    engine: str = "auto",
    precision: str = "fp32",
    labels: str = "top",
    keep_masks: bool = False,
    copies: str = "group",
    view: str = "crop",
    tta: str = "none",
    registry: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
    search: dict[str, Any] | None = None,
    report: bool = True,
    **options: Any,
) -> Run:
    """Train a classifier on labelled images and evaluate it on images held out.

    Parameters
    ----------
    data : str or path, optional
        As in :func:`finetune.data.read.read`.
    model : str, optional
        As in :func:`zoo.load`.
    strategy : str, optional
        One of :data:`finetune.methods.METHODS`.
    seed : int, optional
        Of the split and of anything else random; one seed, one result.
    out : path, optional
        Where to put the run; by default a new folder below ``runs``.
    group_by : str, optional
        As in :func:`finetune.data.groups.group_by`.
    folds : int, optional
        Of the cross-validation.
    strict : bool, optional
        Raise for files that are not images, instead of leaving them out.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    labels : str, optional
        As in :func:`finetune.data.read.read`.
    keep_masks : bool, optional
        Keep images that are masks of photographs beside them.
    copies : str, optional
        As in :func:`finetune.data.copies.grouping.apply_copies`.
    view : str, optional
        What the network sees of an image, as in :meth:`zoo.backbone.Backbone.with_view`.
    tta : str, optional
        ``mirror`` for features that are the mean over an image and its mirror image.
    registry : path, optional
        A registry file laid over the zoo's own.
    log : callable, optional
        Given one line at a time of what the user may want to know while it runs.
    search : dict, optional
        Search for the settings that are not given first: ``trials``, ``minutes`` and ``over`` of
        :class:`finetune.search.Search`, or none of them.
    report : bool, optional
        Whether to write ``report.html`` and the map of the features.
    **options
        What the strategy's ``Options`` hold.

    Returns
    -------
    Run
        As written to ``run.json``.

    Raises
    ------
    ZooError
        For whatever the user can fix; nothing is left half-written.

    Examples
    --------
    >>> run = fit(data="photos/")  # doctest: +SKIP
    >>> run.test.accuracy, run.test.ci95, run.path  # doctest: +SKIP
    """
    request = RunRequest(
        Request(
            data=os.fspath(data),
            models=(model,),
            seed=seed,
            group_by=group_by,
            n_folds=folds,
            strict=strict,
            engine=engine,
            precision=precision,
            labels=labels,
            keep_masks=keep_masks,
            copies=copies,
            view=view,
            tta=tta,
        ),
        strategy,
        {name: value for name, value in options.items() if value is not None},
        search,
        None if registry is None else os.fspath(registry),
        report,
    )
    method = request.method()  # faults are found before any work
    if is_follower():
        return _follow(request)
    folder = RunFolder(out) if out is not None else RunFolder.numbered(data_name(data), method.name)
    with folder:
        if not method.resumable:
            return _run(request, folder, None, log or _silent)
        unfinished = Unfinished(folder.path)
        unfinished.begin(asdict(request) | {"folder": os.getcwd()})
        with unfinished:
            return _run(request, folder, unfinished, log or _silent)


def resume(run: str | os.PathLike[str], *, log: Callable[[str], None] | None = None) -> Run:
    """Continue a training that was interrupted; the result is that of one never stopped.

    Parameters
    ----------
    run : path
        The run's folder, as it was printed when the training began.
    log : callable, optional
        As for :func:`fit`.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If the run is finished, foreign, or just being trained.
    DataError
        If the images have changed.
    """
    unfinished = Unfinished(run)
    record = unfinished.request()
    try:
        request = RunRequest.from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # pydantic's is a ValueError
        raise unfinished.damaged() from error
    if is_follower():
        return _follow(request)
    with RunFolder(unfinished.run) as folder, unfinished:
        return _run(request, folder, unfinished, log or _silent)


def is_follower() -> bool:
    """Return whether several processes train together and another one of them is the first."""
    from finetune.training.team import rank_and_size

    return rank_and_size()[0] != 0


@dataclass(frozen=True)
class RunRequest:
    """What a run is made from: all that its result depends on.

    Attributes
    ----------
    experiment : Request
    strategy : str
    options : dict
        The strategy's, as far as they were given.
    search : dict or None
        Settings of a search, if there is one.
    registry : str or None
        A registry file.
    """

    experiment: Request
    strategy: str
    options: dict[str, Any]
    search: dict[str, Any] | None = None
    registry: str | None = None
    report: bool = True

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> RunRequest:
        """Make the request again that an unfinished run was begun with, perhaps in another folder."""
        from pydantic import TypeAdapter

        began_in = Path(record.pop("folder"))
        experiment = dict(record.pop("experiment"))
        if Path.cwd() != began_in:
            if experiment["data"] != "demo":
                experiment["data"] = os.fspath(began_in / experiment["data"])
            experiment["models"] = [_model_from(began_in, name) for name in experiment["models"]]
            if record["registry"] is not None:
                record["registry"] = os.fspath(began_in / record["registry"])
        experiment["models"] = tuple(experiment["models"])
        made = cls(experiment=Request(**experiment), **record)
        TypeAdapter(cls).validate_python(asdict(made))  # whether each value has the right type
        if not made.experiment.models:
            raise ValueError("it names no network")
        return made

    def method(self) -> Method:
        """Return what is fitted; raises :class:`finetune.errors.OptionError` naming every fault."""
        if self.search is None:
            return make_method(self.strategy, **self.options)
        from finetune.search import Search

        find_method(self.strategy)
        return Search(self.strategy, self.options, **self.search)

    def command(self) -> str:
        """Return the command that repeats the run."""
        words = ["finetune", *([] if self.search is None else ["search"]), "--strategy", self.strategy]
        words += self.experiment.words()
        words += as_words({**(self.search or {}), **self.options})
        words += [] if self.registry is None else ["--registry", self.registry]
        words += [] if self.report else ["--no-report"]
        return shlex.join(words)


def _model_from(folder: Path, name: str) -> str:
    """Name a model from another folder: only one that is itself a folder needs another name there."""
    place = folder / name.removeprefix("local-dir:")
    return f"local-dir:{place}" if place.is_dir() else name


def _follow(request: RunRequest) -> Run:
    """Train along with the first process, which writes the run."""
    with tempfile.TemporaryDirectory(prefix="finetune-") as name, RunFolder(Path(name) / "run") as folder:
        return _run(request, folder, None, _silent)


def _run(
    request: RunRequest, folder: RunFolder, unfinished: Unfinished | None, log: Callable[[str], None]
) -> Run:
    """Do what is requested, in the folder."""
    clock, team, method = Clock(), _Team(), request.method()
    registry = _registry(request.registry)
    experiment = prepare(
        request.experiment,
        registry=registry,
        log=log,
        methods=[method],
        leader_first=team.leader_first,
    )
    backbone = None if method.inputs == "pixels" else experiment.backbone
    if unfinished is not None:
        unfinished.hold_to(experiment.fingerprint)
        log(f"If this is stopped, continue with: finetune resume {shlex.quote(str(folder.path))}")
    task = experiment.task(method, checkpoints=team.same(unfinished.folder if unfinished else None))
    with clock.phase("training"):
        fitted = method.fit(task, backbone)
    with clock.phase("evaluation"):
        found = assess(experiment, fitted, task.train, experiment.held_out(method))
        plain_probe = request.strategy == "probe" and request.search is None
        advice = hint(experiment, fitted) if plain_probe else None
    made = Made(request.strategy, experiment.backbone, fitted, task, found, request.command(), advice)
    return write_run(experiment, made, folder, clock, report=request.report)


@dataclass(frozen=True, eq=False)
class Made:
    """A classifier that was fitted and evaluated.

    Attributes
    ----------
    strategy : str
    backbone : Backbone
        The network; for a classifier on pixels, the experiment's first one.
    fitted : Fitted
    task : Task
        What it learned from.
    assessment : Assessment
        Of the held-out images.
    command : str
        What repeats the run.
    hint : str or None
        What to run next, where something speaks for it.
    """

    strategy: str
    backbone: Backbone
    fitted: Fitted
    task: Task
    assessment: Assessment
    command: str
    hint: str | None = None


def write_run(
    experiment: Experiment,
    made: Made,
    folder: RunFolder,
    clock: Clock,
    leaderboard: Leaderboard | None = None,
    report: bool = True,
) -> Run:
    """Write the model, the tables, the report and ``run.json`` into a run folder that is being made.

    Parameters
    ----------
    experiment : Experiment
    made : Made
    folder : RunFolder
    clock : Clock
        Of the whole run.
    leaderboard : Leaderboard, optional
        What else was tried.
    report : bool, optional
        Whether to write ``report.html`` and the map of the features.

    Returns
    -------
    Run
    """
    fitted, task, found = made.fitted, made.task, made.assessment
    with clock.phase("evaluation"):
        without_cnn = reference(experiment)
    with clock.phase("writing"):
        fitted.save(folder.work / "model")
        write_readme(folder.work / "model")
        Knowledge.of(fitted, task.train).save(folder.work / "model")
        _write_tables(folder.work, fitted, experiment, found.probabilities)
    data = data_record(experiment).model_copy(update={"copies": copies_record(experiment, found)})
    run = Run(
        strategy=made.strategy,
        model=made.backbone.name,
        weights_sha256=made.backbone.weights_sha256,
        data=data,
        split=split_record(experiment),
        choice=fitted.choice,
        test=found.test,
        reference=without_cnn,
        shift=found.shift,
        contradiction=found.contradiction,
        seconds={**experiment.seconds, **clock.seconds()},
        environment=environment(threads(), experiment.spaces[0].precision),
        view=experiment.request.view,
        tta=experiment.request.tta,
        seed=experiment.request.seed,
        command=made.command,
        path=folder.path,
        warnings=[*found.warnings, *experiment.warnings, *fitted.warnings],
        leaderboard=leaderboard,
        hint=made.hint,
    )
    if report:
        with clock.phase("report"):
            write_map(folder.work, experiment, fitted, made.backbone)
            write_report(run, folder.work)
        run = run.model_copy(update={"seconds": {**experiment.seconds, **clock.seconds()}})
    folder.write(run)
    return run


def _silent(line: str) -> None:
    """Log nothing."""


def _registry(path: str | None) -> Registry | None:
    return None if path is None else load_registry(Path(path))


class _Team:
    """The processes that train together; torch is imported only where there are several."""

    def __init__(self) -> None:
        self._joined: Any = None
        from finetune.training.team import Team, rank_and_size

        if rank_and_size()[1] > 1:
            self._joined = Team()

    def leader_first(self) -> AbstractContextManager[None]:
        return self._joined.leader_first() if self._joined else nullcontext()

    def same(self, folder: Path | None) -> Path | None:
        """Return the first process's folder."""
        if self._joined is None:
            return folder
        name = self._joined.same(str(folder.resolve()) if folder else "")
        return Path(name) if name else None


def _write_tables(
    folder: Path, fitted: Fitted, experiment: Experiment, probabilities: NDArray[np.float64]
) -> None:
    with MetricsLog(folder) as log:
        for line in fitted.history:
            log.write(**line)
    for name, text in fitted.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    test = experiment.dataset.subset(experiment.split.test)
    write_predictions(folder, test.names, test.labels.tolist(), probabilities, test.classes)
