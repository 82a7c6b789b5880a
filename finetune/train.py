"""From a labelled folder to a run: the one way through the project."""

import dataclasses
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.baselines import BASELINES
from finetune.data.dataset import Dataset, fingerprint, read
from finetune.data.split import Split, folds, hold_out
from finetune.evaluation.calibration import softmax
from finetune.evaluation.metrics import evaluate
from finetune.heads.linear import Problems, solve
from finetune.method import Images, Task, Trained
from finetune.methods import check_methods, load_method
from finetune.report import write_report
from finetune.runs import (
    Floor,
    MetricsLog,
    Run,
    RunData,
    RunFolder,
    RunSplit,
    SkippedFile,
    Unfinished,
    environment,
    write_predictions,
)
from finetune.strategies import STRATEGIES, make_options
from zoo.backbone import Backbone, load
from zoo.errors import DataError
from zoo.features.extract import Extraction, compute
from zoo.features.spaces import BackboneSpace, RawPixels
from zoo.parallel import threads
from zoo.registry.registry import Registry

if TYPE_CHECKING:
    from finetune.search import Searching

__all__ = ["DEFAULT_MODEL", "data_name", "fit", "is_follower", "resume"]

DEFAULT_MODEL = "efficientnet_lite0"

#: L2 strength of the floor's classifier, in the middle of what serves raw pixels.
FLOOR_L2 = 0.1


def fit(
    data: str | os.PathLike[str] = "demo",
    model: str = DEFAULT_MODEL,
    strategy: str = "probe",
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    strict: bool = False,
    engine: str = "auto",
    precision: str = "fp32",
    registry: Registry | None = None,
    command: str | None = None,
    say: Callable[[str], None] | None = None,
    search: dict[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Train a classifier on labelled images and measure it on images held out.

    Parameters
    ----------
    data : str or path, optional
        As in :func:`finetune.data.read`.
    model : str, optional
        As in :func:`zoo.load`.
    strategy : str, optional
        One of :data:`finetune.strategies.STRATEGIES` or :data:`finetune.baselines.BASELINES`.
    seed : int, optional
        Of the split and of anything else random; one seed, one result.
    out : path, optional
        Where to put the run; by default a new folder below ``runs``.
    strict : bool, optional
        Raise for files that are no images, instead of leaving them out.
    engine, precision : str, optional
        As in :func:`zoo.engines.build`.
    registry : Registry, optional
        Where to look the model up.
    command : str, optional
        The command that repeats the run, for the record.
    say : callable, optional
        Told in one line of what the user may want to know while it runs.
    search : dict, optional
        Search for the settings that are not given first: ``trials``, ``minutes`` and ``over`` of
        :class:`finetune.search.Searching`, or nothing of it.
    **options
        What the strategy's ``Options`` hold.

    Returns
    -------
    Run
        As written to ``run.json``.

    Raises
    ------
    ZooError
        For whatever the user can mend; nothing is left half-written.

    Examples
    --------
    >>> run = fit(data="photos/")  # doctest: +SKIP
    >>> run.test.accuracy, run.test.ci95, run.path  # doctest: +SKIP
    """
    if seed < 0:
        raise DataError(f"The seed {seed} is negative.", "Give a seed from 0 upwards.")
    given = {name: value for name, value in options.items() if value is not None}
    asked = _Asked(os.fspath(data), model, strategy, seed, strict, engine, precision, given, search)
    if is_follower():
        return _follow(asked, registry)
    folder = RunFolder(out) if out is not None else RunFolder.numbered(data_name(data), asked.name)
    with folder:
        if not asked.resumable:
            return _fit(asked, folder, None, registry, command, say or _unsaid)
        unfinished = Unfinished(folder.path)
        unfinished.begin(dataclasses.asdict(asked) | {"folder": os.getcwd()})
        with unfinished:
            return _fit(asked, folder, unfinished, registry, command, say or _unsaid)


def resume(
    run: str | os.PathLike[str],
    *,
    registry: Registry | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Go on with a training that was interrupted; the result is that of one never stopped.

    Parameters
    ----------
    run : path
        The run's place, as it was printed when the training began.
    registry : Registry, optional
        Where to look the model up.
    say : callable, optional
        As for :func:`fit`.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If the run is finished, foreign, or just being trained.
    DataError
        If the images are others now.
    """
    unfinished = Unfinished(run)
    request = unfinished.request()
    began_in = Path(request.pop("folder"))
    if Path.cwd() != began_in:
        if request["data"] != "demo":
            request["data"] = os.fspath(began_in / request["data"])
        request["model"] = _model_from(began_in, request["model"])
    asked = _Asked(**request)
    if is_follower():
        return _follow(asked, registry)
    with RunFolder(unfinished.run) as folder, unfinished:
        return _fit(asked, folder, unfinished, registry, None, say or _unsaid)


def _model_from(folder: Path, name: str) -> str:
    """Name a model from elsewhere: only one that is a folder needs another name there."""
    place = folder / name.removeprefix("local-dir:")
    return f"local-dir:{place}" if place.is_dir() else name


def is_follower() -> bool:
    """Return whether several processes train together and another one of them is the first."""
    return os.environ.get("RANK", "0") != "0"


def _follow(asked: "_Asked", registry: Registry | None) -> Run:
    """Train along with the first process, which writes the run."""
    with tempfile.TemporaryDirectory(prefix="finetune-") as name, RunFolder(Path(name) / "run") as folder:
        return _fit(asked, folder, None, registry, None, _unsaid)


@dataclass(frozen=True)
class _Asked:
    """What a run is asked for: all that its result depends on."""

    data: str
    model: str
    strategy: str
    seed: int
    strict: bool
    engine: str
    precision: str
    options: dict[str, Any]
    search: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # Faults are found before any work.
        if self.search is not None:
            self._searching()
        check_methods([self.strategy], (*STRATEGIES, *BASELINES))
        make_options(self.recipe, self.options)

    @property
    def name(self) -> str:
        """What the run is called after."""
        return self.strategy if self.search is None else f"{self.strategy}-search"

    @property
    def recipe(self) -> ModuleType:
        return load_method(self.strategy)

    @property
    def resumable(self) -> bool:
        return self.search is not None or bool(getattr(self.recipe, "RESUMABLE", False))

    def train(self, task: Task, backbone: Backbone) -> Trained:
        """Do what is asked for, with the training part."""
        if self.search is not None:
            return self._searching().fit(task, backbone)
        trained: Trained = self.recipe.fit(task, backbone, make_options(self.recipe, self.options))
        return trained

    def _searching(self) -> "Searching":
        from finetune.search import Searching

        return Searching(self.strategy, self.options, **(self.search or {}))


def _fit(
    asked: _Asked,
    folder: RunFolder,
    unfinished: Unfinished | None,
    registry: Registry | None,
    command: str | None,
    say: Callable[[str], None],
) -> Run:
    """Do what is asked for, in the folder."""
    clock = _Clock()
    team = _Team()
    with clock.phase("data"):
        dataset = read(asked.data)
    with clock.phase("model"):
        backbone = load(asked.model, registry=registry)
    with clock.phase("features"), team.leader_first():
        space = BackboneSpace(backbone, asked.engine, asked.precision, say)
        space.expected_images = len(dataset)
        found = compute(dataset.paths, [space, RawPixels()])
        dataset = _without_unreadable(dataset, found, asked.strict)
    X, pixels = found.matrices
    record = _data_record(asked.data, dataset, found)
    split = hold_out(
        dataset.labels, dataset.parts, dataset.groups, seed=asked.seed, parts_from=dataset.parts_from
    )
    train, test = _images(dataset, X, split.train), _images(dataset, X, split.test)
    if unfinished is not None:
        unfinished.hold_to(record.fingerprint)
        say(f"Should this be stopped, go on with: finetune resume {shlex.quote(str(folder.path))}")
    with clock.phase("training"):
        groups = None if dataset.groups is None else dataset.groups[split.train]
        task = Task(
            train,
            folds(train.labels, groups=groups, seed=asked.seed),
            dataset.classes,
            asked.seed,
            engine=asked.engine,
            precision=asked.precision,
            checkpoints=team.same(unfinished.folder if unfinished else None),
            say=say,
        )
        trained = asked.train(task, backbone)
    with clock.phase("evaluation"):
        probabilities = softmax(trained.logits(test))
        result = evaluate(test.labels, probabilities, dataset.classes)
        floor = _floor(pixels, dataset.labels, split, len(dataset.classes))
    with clock.phase("writing"):
        trained.save(folder.work / "model")
        _write_tables(folder.work, trained, dataset.subset(split.test), probabilities)
        run = Run(
            strategy=asked.strategy,
            model=asked.model,
            weights_sha256=backbone.weights_sha256,
            data=record,
            split=RunSplit(kind=split.kind, n_train=len(train), n_test=len(test)),
            choice=trained.choice,
            test=result,
            floor=floor,
            seconds={"total": 0.0},
            environment=environment(threads(), space.precision),
            seed=asked.seed,
            command=command or _command(asked),
            path=folder.path,
            warnings=[
                *dataset.warnings,
                *filter(None, [split.warning, task.folds.warning]),
                *trained.warnings,
            ],
        )
    run = run.model_copy(update={"seconds": clock.seconds()})
    write_report(run, folder.work)
    folder.write(run)
    return run


def _unsaid(line: str) -> None:
    """Tell nobody."""


class _Team:
    """The processes that train together; torch is imported only where there are several."""

    def __init__(self) -> None:
        self._joined: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from finetune.training.team import Team

            self._joined = Team()

    def leader_first(self) -> AbstractContextManager[None]:
        return self._joined.leader_first() if self._joined else nullcontext()

    def same(self, folder: Path | None) -> Path | None:
        """The first process's folder."""
        if self._joined is None:
            return folder
        name = self._joined.same(str(folder.resolve()) if folder else "")
        return Path(name) if name else None


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._phases[name] = round(time.perf_counter() - start, 3)

    def seconds(self) -> dict[str, float]:
        return {**self._phases, "total": round(time.perf_counter() - self._start, 3)}


def _without_unreadable(dataset: Dataset, found: Extraction, strict: bool) -> Dataset:
    """Leave out what turned out to be no image, or raise if that is what the user wants."""
    if strict and (found.skipped or dataset.skipped):
        names = [f"{dataset.names[i]} ({error.reason})" for i, error in found.skipped.items()]
        names += [f"{skipped.path} ({skipped.reason})" for skipped in dataset.skipped]
        listed = "; ".join(names[:10]) + (f"; and {len(names) - 10} more" if len(names) > 10 else "")
        raise DataError(
            f"{len(names)} files are no readable images: {listed}.",
            "Mend or remove them, or leave out --strict to skip them.",
        )
    places = list(found.skipped)
    return dataset.drop(places, [found.skipped[i].reason for i in places])


def _images(dataset: Dataset, X: NDArray[np.float32], rows: NDArray[np.int64]) -> Images:
    return Images(tuple(dataset.paths[i] for i in rows), dataset.labels[rows], X[rows])


def _floor(pixels: NDArray[np.float32], labels: NDArray[np.int64], split: Split, n_classes: int) -> Floor:
    """What the same held-out images give without a CNN."""
    y, truth = labels[split.train], labels[split.test]
    problem = Problems(pixels[split.train], y, np.ones((1, len(y)), np.float32), n_classes)
    classifier = problem.classifier(solve(problem, FLOOR_L2, tolerance=1e-3))
    majority = np.bincount(y, minlength=n_classes).argmax()
    return Floor(
        raw_pixels_accuracy=float((classifier.scores(pixels[split.test]).argmax(axis=1) == truth).mean()),
        majority_accuracy=float((truth == majority).mean()),
    )


def _data_record(data: str | os.PathLike[str], dataset: Dataset, found: Extraction) -> RunData:
    root = Path(dataset.root)
    return RunData(
        path=os.fspath(data),
        n_images=len(dataset),
        classes=list(dataset.classes),
        counts=dataset.counts,
        skipped=[
            SkippedFile(path=_relative(skipped.path, root), reason=skipped.reason)
            for skipped in dataset.skipped
        ],
        ignored=dataset.ignored,
        fingerprint=fingerprint(dataset, found.digests),
    )


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _write_tables(folder: Path, trained: Trained, test: Dataset, probabilities: NDArray[np.float64]) -> None:
    with MetricsLog(folder) as log:
        for line in trained.log:
            log.write(**line)
    for name, text in getattr(trained, "files", {}).items():
        (folder / name).write_text(text, encoding="utf-8")
    write_predictions(folder, test.names, test.labels.tolist(), probabilities, test.classes)


def data_name(data: str | os.PathLike[str]) -> str:
    """Return what folders that are made from some data are called after."""
    return Path(data).resolve().stem if os.fspath(data) != "demo" else "demo"


def _command(asked: _Asked) -> str:
    words = ["finetune", *([] if asked.search is None else ["search"])]
    words += [*(["baseline"] if asked.strategy in BASELINES else ["--strategy"]), asked.strategy]
    words += ["--data", asked.data, "--model", asked.model]
    words += ["--seed", str(asked.seed)] if asked.seed else []
    searched = {name: value for name, value in (asked.search or {}).items() if value is not None}
    for name, value in {**searched, **asked.options}.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag if value else flag.replace("--", "--no-", 1)]
        else:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                words += [flag, str(one)]
    return shlex.join(words)
