"""The search itself: optuna draws, prunes and stores the trials.

There are three stages, each an optuna study: the method's defaults and then drawn options are trained outside
the first fold; the best of both are cross-validated on more folds, and these decide. The studies lie in one
file in the folder of an unfinished run. Before each draw the sampler is seeded anew with the number of trials
before it, so that a search which was interrupted makes the same trials as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from finetune.errors import RunError
from finetune.heads.descent import Diverged
from finetune.search.trials import FoldResult, Trial
from finetune.space import LogUniform, Space
from zoo.progress import progress

if TYPE_CHECKING:
    import optuna

__all__ = ["JOURNAL", "Budget", "Trainer", "Watch", "run_trials"]

Stage = Literal["default", "search", "final"]

#: The studies' file in the folder of an unfinished run.
JOURNAL = "search.journal"

#: So many trials are drawn from the whole ranges before TPE learns from them: optuna's own number.
STARTUP = 10

#: After which shares of its epochs a trial is compared with others.
RUNGS = (0.25, 0.5)

#: It goes on if it is among the best so many percent, once so many trials are complete.
KEEP_PERCENT, FEWEST = 50.0, 5

#: The share of the minutes after which the best are cross-validated.
SEARCH_SHARE = 0.6

#: Given the epochs done, their number and the held-out loss, returns whether to stop.
Watch = Callable[[int, int, float], bool]


class Trainer(Protocol):
    """What is searched.

    Attributes
    ----------
    defaults : list of dict
        Options that the method uses where nothing is searched; it uses the best of these.
    n_finalists : int
        How many are cross-validated: the defaults, and the best others.
    """

    defaults: list[dict[str, Any]]
    n_finalists: int

    def trial(self, params: dict[str, Any], watch: Watch | None) -> FoldResult:
        """Train outside the first fold, as long as the method does, unless `watch` returns true.

        Raises
        ------
        Diverged
        """

    def cross_validate(self, params: dict[str, Any], n_folds: int, first: FoldResult) -> list[FoldResult]:
        """Train outside each of the first `n_folds` folds; `first` is what the trial gave.

        Raises
        ------
        Diverged
        """

    def n_final_folds(self, seconds_left: float, slowest: float) -> int:
        """Return on how many folds to cross-validate, given the time left and that of the slowest trial."""


@dataclass(frozen=True)
class Budget:
    """How long to search: until either limit is reached. Trials of the final stage do not count.

    Attributes
    ----------
    trials : int or None
    minutes : float or None
        Of all stages; a trial that has begun is finished.
    """

    trials: int | None = None
    minutes: float | None = None

    def allows_another(self, trials: int, seconds: float) -> bool:
        """Return whether there may be another trial after so many, which took so long."""
        if self.trials is not None and trials >= self.trials:
            return False
        return trials == 0 or seconds < SEARCH_SHARE * self.seconds

    @property
    def seconds(self) -> float:
        """All of the time."""
        return math.inf if self.minutes is None else 60 * self.minutes


def run_trials(trainer: Trainer, space: Space, budget: Budget, seed: int, folder: Path | None) -> list[Trial]:
    """Make trials, after those that the folder holds.

    Parameters
    ----------
    trainer : Trainer
    space : Space
        What to draw.
    budget : Budget
    seed : int
        The trials are a function of it, unless there is a limit of time.
    folder : Path or None
        Where trials are kept; None keeps them in memory.

    Returns
    -------
    list of Trial
        In the order of stages, each in the order in which they were made.

    Raises
    ------
    RunError
        If the file in the folder is damaged.
    """
    with _quiet_optuna(), _opened(folder) as storage:
        default, search, final = (_Study(storage, stage, seed) for stage in ("default", "search", "final"))
        if final.n_folds is None:
            _draw(trainer, space, budget, default, search)
            seconds = sum(t.seconds for t in default.trials + search.trials)
            slowest = max(t.seconds for t in default.trials + search.trials)
            final.n_folds = trainer.n_final_folds(budget.seconds - seconds, slowest)
        finalists = _finalists(default, search, trainer.n_finalists)
        with progress("cross-validation", len(finalists), "candidates") as advance:
            advance(len(final.trials))
            for finalist in finalists[len(final.trials) :]:
                _cross_validate(trainer, finalist, final)
                advance(1)
        trials = default.trials + search.trials + final.trials
    return [replace(trial, number=i) for i, trial in enumerate(trials)]


def _draw(trainer: Trainer, space: Space, budget: Budget, default: _Study, search: _Study) -> None:
    """Try the defaults, then options drawn from the space."""
    with progress("search", budget.trials or 0, "trials") as advance:
        done = len(default.trials) + len(search.trials)
        seconds = sum(t.seconds for t in default.trials + search.trials)
        advance(done)
        while budget.allows_another(done, seconds):
            if len(default.trials) < len(trainer.defaults):
                study, params = default, trainer.defaults[len(default.trials)]
                asked = study.ask({})
            else:
                study, asked = search, search.ask(_distributions(space))
                params = {name: space[name].rounded(value) for name, value in asked.params.items()}
            trial = _train(trainer, study, asked, params)
            done, seconds = done + 1, seconds + trial.seconds
            advance(1)


def _train(trainer: Trainer, study: _Study, asked: optuna.Trial, params: dict[str, Any]) -> Trial:
    """Make one trial of the first two stages."""
    curve: list[float] = []
    pruned = False

    def watch(epoch: int, epochs: int, loss: float) -> bool:
        nonlocal pruned
        curve.append(loss)
        if study.stage == "search" and epoch < epochs and epoch in {math.ceil(r * epochs) for r in RUNGS}:
            asked.report(loss, epoch)
            pruned = asked.should_prune()
        return pruned

    start = time.perf_counter()
    try:
        folds = [trainer.trial(params, watch)]
        state: Any = "pruned" if pruned else "complete"
    except Diverged:
        folds, state = [], "diverged"
    seconds = round(time.perf_counter() - start, 4)
    folds = folds if state == "complete" else []
    return study.tell(asked, Trial(0, study.stage, state, params, folds, curve, seconds))


def _cross_validate(trainer: Trainer, finalist: Trial, final: _Study) -> None:
    start = time.perf_counter()
    asked = final.ask({})
    state: Any = "complete"
    try:
        folds = trainer.cross_validate(finalist.params, final.n_folds or 1, finalist.folds[0])
    except Diverged:
        folds, state = [], "diverged"
    seconds = round(time.perf_counter() - start, 4)
    final.tell(asked, Trial(0, "final", state, finalist.params, folds, seconds=seconds))


def _finalists(default: _Study, search: _Study, number: int) -> list[Trial]:
    """Return the best of the defaults, then the best others, each of them once."""
    best = [sorted((t for t in s.trials if t.folds), key=lambda t: t.loss) for s in (default, search)]
    found: list[Trial] = []
    for trial in best[0][:1] + best[1]:
        if len(found) < number and all(trial.params != other.params for other in found):
            found.append(trial)
    return found


def _distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def distribution(parameter: Any) -> Any:
        if not isinstance(parameter, LogUniform):
            return CategoricalDistribution(parameter.values)
        if parameter.integer:
            return IntDistribution(int(parameter.low), int(parameter.high), log=True)
        return FloatDistribution(parameter.low, parameter.high, log=True)

    return {name: distribution(parameter) for name, parameter in space.items()}


class _Study:
    """One stage's study, with the trials that are finished."""

    def __init__(self, storage: Any, stage: Any, seed: int) -> None:
        import optuna

        self.stage: Stage = stage
        self._seed = seed
        pruner = optuna.pruners.PercentilePruner(KEEP_PERCENT, n_startup_trials=FEWEST)
        self._study = optuna.create_study(
            storage=storage, study_name=stage, load_if_exists=True, pruner=pruner
        )
        self.trials: list[Trial] = []
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                if "trial" in trial.user_attrs:
                    self.trials.append(Trial.from_dict(trial.user_attrs["trial"]))
            else:  # it was interrupted, and is made anew
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    @property
    def n_folds(self) -> int | None:
        """How many folds the final stage has, once that is decided."""
        return self._study.user_attrs.get("n_folds")

    @n_folds.setter
    def n_folds(self, number: int) -> None:
        self._study.set_user_attr("n_folds", number)

    def ask(self, distributions: Mapping[str, Any]) -> optuna.Trial:
        """Begin a trial with options drawn by TPE."""
        import optuna

        # Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", NeurIPS.
        seed = int(np.random.default_rng([self._seed, 6, len(self.trials)]).integers(2**31))
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        return self._study.ask(dict(distributions))

    def tell(self, asked: optuna.Trial, trial: Trial) -> Trial:
        """Finish a trial."""
        from optuna.trial import TrialState

        asked.set_user_attr("trial", trial.to_dict())
        if trial.folds:
            self._study.tell(asked, trial.loss)
        else:  # one that diverged counts for the sampler as one of the worst
            self._study.tell(asked, state=TrialState.PRUNED)
        self.trials.append(trial)
        return trial


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep optuna from logging each trial, and leave its logging as it was."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _opened(folder: Path | None) -> Iterator[Any]:
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if folder is None:
        yield InMemoryStorage()
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    _cut_unfinished_line(path)
    try:
        storage = JournalStorage(JournalFileBackend(str(path), _NoLock()))  # type: ignore[arg-type]
    except (ValueError, KeyError) as error:
        raise RunError(f"{path} is damaged.", "Delete that file: its trials are made again.") from error
    yield storage


def _cut_unfinished_line(path: Path) -> None:
    """Remove what was being written when the process was killed, which optuna would append to."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)


class _NoLock:
    """The folder of an unfinished run is locked already, and a lock of optuna's outlives a killed process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
