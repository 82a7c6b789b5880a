"""Trials: what is drawn, what is pruned, which decide, and that an interruption changes nothing."""

import json
import math
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import bowl
import numpy as np
import optuna
import pytest
from bowl import SPACE, Bowl, searched

from finetune.errors import RunError
from finetune.search.study import JOURNAL
from finetune.search.trials import Trial


def timeless(trials):
    """Trials without what the clock says."""
    return [replace(t, seconds=0.0) for t in trials]


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def uninterrupted():
    return timeless(searched())


def test_one_seed_the_same_trials_and_another_others():
    assert timeless(searched(seed=1)) == timeless(searched(seed=1))
    assert timeless(searched(seed=1)) != timeless(searched(seed=2))


def test_the_defaults_come_first_and_are_compared_in_the_end():
    trials = searched()
    assert [t.number for t in trials] == list(range(len(trials)))
    assert Counter(t.stage for t in trials) == {"default": 2, "search": 28, "final": 3}
    assert [t.params for t in trials[:2]] == [{}, {"lr": 0.3}]
    final = trials[-3:]
    assert final[0].params == {"lr": 0.3}  # the better of the defaults
    assert all([f.fold for f in t.folds] == [0, 1, 2, 3] for t in final)
    best = min(final, key=lambda t: t.loss)
    assert best.params["kind"] == "b"
    assert abs(math.log10(best.params["lr"] / 1e-2)) < 0.3


def test_drawn_from_all_of_the_range_and_then_from_where_good_ones_fell():
    drawn = [t for t in searched(trials=80) if t.stage == "search"]
    assert all(1e-4 <= t.params["lr"] <= 1 and t.params["kind"] in SPACE["kind"].values for t in drawn)
    away = np.array([abs(math.log10(t.params["lr"]) + 2) for t in drawn])
    assert away[:10].max() > 1
    assert np.median(away[-30:]) < 0.5 * np.median(away[:10])


def test_the_worse_are_pruned_and_never_decide():
    trials = searched(trials=60)
    drawn = [t for t in trials if t.stage == "search"]
    pruned = [t for t in drawn if t.state == "pruned"]
    complete = [t for t in drawn if t.state == "complete"]
    assert len(pruned) > 10
    assert all(len(t.curve) in (2, 4) and not t.folds for t in pruned)
    assert all(len(t.curve) == 8 for t in complete)
    assert np.mean([t.curve[1] for t in pruned]) > np.mean([t.curve[1] for t in complete])
    for t in (t for t in drawn if t.state == "diverged"):
        assert t.params["lr"] > 0.5
    assert not {json.dumps(t.params) for t in pruned} & {json.dumps(t.params) for t in trials[-3:]}


@pytest.mark.parametrize("at", [0, 2, 9, 20, 29, 31])
def test_an_interrupted_search_makes_the_same_trials(at, tmp_path, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        searched(Bowl(interrupt_at=at, interrupt=interrupt), tmp_path)
    again = Bowl()
    assert timeless(searched(again, tmp_path)) == uninterrupted
    assert len(again.calls) == 33 - at


def test_a_killed_search_makes_the_same_trials(tmp_path, uninterrupted):
    """The process is killed twice, in the midst of a trial and of a line."""
    for n in (7, 12):
        command = [sys.executable, str(Path(bowl.__file__)), str(tmp_path), str(n)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run(command, env=env).returncode == -signal.SIGKILL
    with open(tmp_path / JOURNAL, "a") as file:
        file.write('{"op_code":4,"worker_id":"')
    again = Bowl()
    assert timeless(searched(again, tmp_path)) == uninterrupted
    assert len(again.calls) == 33 - 19


def test_a_finished_search_is_only_read(tmp_path):
    trials = searched(folder=tmp_path)
    again = Bowl()
    assert searched(again, tmp_path) == trials
    assert not again.calls


def test_a_damaged_file_ends_with_one_message(tmp_path):
    (tmp_path / JOURNAL).write_text("not a journal\nnor this\n")
    with pytest.raises(RunError, match="damaged"):
        searched(folder=tmp_path)


@pytest.mark.parametrize("trials", [1, 2, 3, 12])
def test_not_more_trials_than_wanted(trials):
    made = searched(trials=trials)
    assert sum(t.stage != "final" for t in made) == trials
    assert made[-1].stage == "final"


def test_the_minutes_leave_time_for_the_final_stage(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("finetune.search.study.time.perf_counter", lambda: 3.0 * next(clock))
    made = searched(trials=None, minutes=1)  # each trial takes 3 seconds
    assert sum(t.stage != "final" for t in made) == 12  # 60% of 60 seconds
    assert len(made[-1].folds) == 4
    clock = iter(range(10_000))
    assert len(searched(trials=None, minutes=0.05)[-1].folds) == 1  # there is none left


def test_optunas_logging_is_left_as_it_was():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        searched(trials=3)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_the_global_random_state_is_left_alone():
    before = [np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    searched(trials=15)
    assert before == [np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


def test_trials_are_lines_of_json():
    for trial in searched(trials=20):
        record = json.loads(json.dumps(trial.to_dict(), allow_nan=False))
        assert Trial.from_dict(record) == trial
        assert (record["loss"] is None) == (trial.state != "complete")
