"""The best classifier that some minutes can give: candidates are raced, and the winner becomes a run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.auto.board import command_of, leaderboard
from finetune.auto.budget import Budget, check_minutes
from finetune.auto.course import Course
from finetune.auto.outcome import Outcome, Results
from finetune.auto.race import Race
from finetune.experiment import DEFAULT_MODEL, Clock, Request, data_name, prepare
from finetune.methods import make_method
from finetune.runs import Run, RunFolder, Unfinished
from finetune.train import Made, write_run
from finetune.trust import assess
from zoo.backbone import load
from zoo.registry.registry import Registry, load_registry, resolve
from zoo.weights.locate import available

if TYPE_CHECKING:
    from finetune.method import Fitted
    from finetune.runs import Leaderboard
    from zoo.backbone import Backbone

__all__ = ["AutoRequest", "auto", "resume_auto"]


@dataclass(frozen=True)
class AutoRequest:
    """What ``finetune auto`` is asked for.

    Attributes
    ----------
    experiment : Request
        Its models are the networks that may be tried, the usual one first.
    minutes : float
    named : bool
        Whether the user named the networks; else others that are on this machine are tried too.
    allow_download : bool
        Whether networks may be downloaded.
    registry : str or None
        A registry file.
    """

    experiment: Request
    minutes: float = 5.0
    named: bool = False
    allow_download: bool = False
    registry: str | None = None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> AutoRequest:
        """Make the request again that an unfinished run was begun with."""
        values = {key: value for key, value in record.items() if key not in ("folder", "auto")}
        experiment = dict(values.pop("experiment"))
        experiment["models"] = tuple(experiment["models"])
        if experiment["data"] != "demo":
            experiment["data"] = os.fspath(Path(record["folder"]) / experiment["data"])
        return cls(experiment=Request(**experiment), **values)

    def command(self) -> str:
        """Return the command that asks for the same."""
        words = ["finetune", "auto", "--minutes", f"{self.minutes:g}"]
        given = self.experiment.words()
        if not self.named:  # the networks were not named
            at = given.index("--model")
            given = given[:at] + given[at + 1 + len(self.experiment.models) :]
        words += ["--models" if word == "--model" else word for word in given]
        words += ["--allow-download"] if self.allow_download else []
        words += [] if self.registry is None else ["--registry", self.registry]
        return shlex.join(words)


def auto(
    request: Request | None = None,
    minutes: float = 5.0,
    *,
    models: Sequence[str] = (),
    allow_download: bool = False,
    out: str | os.PathLike[str] | None = None,
    registry: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> Run:
    """Find the best classifier that some minutes can give.

    Parameters
    ----------
    request : Request, optional
        The images; its models are not used.
    minutes : float, optional
        For everything, from reading the images on. What has to be done in any case may take longer: the
        features of one network, a probe on them, and the run.
    models : sequence of str, optional
        Networks that may be tried, the usual one first; by default those that are on this machine.
    allow_download : bool, optional
        Try networks of the registry that would have to be downloaded, too.
    out : path, optional
        Where to put the run; by default a new folder below ``runs``.
    registry : path, optional
        A registry file laid over the zoo's own.
    log : callable, optional
        Given one line at a time: what is tried now, the best so far, the time.

    Returns
    -------
    Run
        Of the winner, with a leaderboard.

    Raises
    ------
    ZooError
        For whatever the user can fix.
    """
    check_minutes(minutes)
    request = replace(request or Request(), models=tuple(dict.fromkeys(models)) or (DEFAULT_MODEL,))
    wanted = AutoRequest(
        request,
        minutes,
        bool(models),
        allow_download,
        None if registry is None else os.fspath(registry),
    )
    folder = RunFolder(out) if out is not None else RunFolder.numbered(data_name(request.data), "auto")
    with folder:
        unfinished = Unfinished(folder.path)
        unfinished.begin({"auto": True, **asdict(wanted), "folder": os.getcwd()})
        with unfinished:
            return _run(wanted, folder, unfinished, log or (lambda line: None))


def resume_auto(run: str | os.PathLike[str], *, log: Callable[[str], None] | None = None) -> Run | None:
    """Continue what was interrupted, with the minutes that were left; None if that was no ``finetune auto``.

    Parameters
    ----------
    run : path
        The run's folder, as it was printed when it began.
    log : callable, optional
        As for :func:`auto`.
    """
    unfinished = Unfinished(run)
    record = unfinished.request()
    if "auto" not in record:
        return None
    with RunFolder(unfinished.run) as folder, unfinished:
        return _run(AutoRequest.from_record(record), folder, unfinished, log or (lambda line: None))


def _run(wanted: AutoRequest, folder: RunFolder, unfinished: Unfinished, log: Callable[[str], None]) -> Run:
    clock, results = Clock(), Results(unfinished.folder)
    budget = Budget(wanted.minutes, results.spent)
    registry = load_registry(None if wanted.registry is None else Path(wanted.registry))
    first, *others = _networks(wanted, registry)
    request = replace(wanted.experiment, models=(first,))
    experiment = prepare(request, registry=registry, log=log, methods=[make_method("probe")])
    unfinished.hold_to(experiment.fingerprint)
    log(f"If this is stopped, continue with: finetune resume {shlex.quote(str(folder.path))}")
    course = Course(experiment, budget, results)
    race = Race(course, [(name, _loader(name, registry, wanted)) for name in others])
    with clock.phase("candidates"):
        race.run()
    with clock.phase("training"):
        winner, fitted = _fit(course, race)
    with clock.phase("evaluation"):
        board, made = _concluded(course, race, winner, fitted, wanted)
    return write_run(course.of(winner.candidate), made, folder, clock, board)


def _networks(wanted: AutoRequest, registry: Registry) -> list[str]:
    """The networks that may be tried: as named, or those that are here, the smallest first."""
    if wanted.named:
        for name in wanted.experiment.models:
            resolve(name, registry)
        return list(wanted.experiment.models)
    entries = sorted(registry.entries, key=lambda entry: entry.gmacs or float("inf"))
    here = [e.name for e in entries if wanted.allow_download or available(e)]
    return [DEFAULT_MODEL, *(name for name in here if name != DEFAULT_MODEL)]


def _loader(name: str, registry: Registry, wanted: AutoRequest) -> Callable[[], Backbone]:
    offline = not (wanted.allow_download or wanted.named)
    return lambda: load(name, registry=registry, offline=offline)


def _fit(course: Course, race: Race) -> tuple[Outcome, Fitted]:
    """The winner, fitted; after Ctrl-C, the best that is fitted in a moment."""
    winner = course.best
    try:
        return winner, race.fit(winner)
    except KeyboardInterrupt:
        if not winner.candidate.method().trains_network:
            raise
        course.stopped = True
        course.experiment.log("Stopped: the best that trains no network is evaluated and written.")
        given_up = "its training was stopped"
        course.outcomes[:] = [
            o.dropped(given_up) if o.candidate.method().trains_network else o for o in course.outcomes
        ]
        return course.best, race.fit(course.best)


def _concluded(
    course: Course, race: Race, winner: Outcome, fitted: Fitted, wanted: AutoRequest
) -> tuple[Leaderboard, Made]:
    """Evaluate the held-out images, for the winner and beside it for the plain probe."""
    first, experiment = course.experiment, course.of(winner.candidate)
    method, backbone = winner.candidate.method(), course.backbone(winner.candidate)
    task = course.task(winner.candidate)
    found = assess(experiment, fitted, task.train, experiment.held_out(method, backbone))
    plain = _plain_probe(course)
    held_out = first.held_out(plain.candidate.method(), first.backbone)
    right = race.fit(plain).decision_function(held_out).argmax(axis=1) == held_out.labels
    command = command_of(winner.candidate, first.request, wanted.registry)
    board = leaderboard(course, winner, plain, right, found.test, wanted.minutes, command)
    strategy, network = winner.candidate.strategy, backbone or first.backbone
    return board, Made(strategy, network, fitted, task, found, wanted.command())


def _plain_probe(course: Course) -> Outcome:
    """What ``finetune --strategy probe`` gives: the features by its own choice between last and stages."""
    from finetune.heads.feature_choice import choose_features

    probes = {
        o.candidate.options["features"]: o
        for o in course.outcomes
        if o.candidate.strategy == "probe" and course.of(o.candidate) is course.experiment
    }
    if len(probes) == 1:
        return next(iter(probes.values()))
    last, stages = probes["last"], probes["stages"]
    chosen = choose_features(last.scores, stages.scores, course.standing.labels, course.standing.groups)
    return probes[chosen.features]
