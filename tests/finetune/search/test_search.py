"""A search as a method: what it chooses, records, and refuses."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from bowl import SPACE
from rich.console import Console
from samples import clouds, task

from finetune.errors import OptionError, TrainingError
from finetune.methods import make_method
from finetune.search import Search
from finetune.search.heads import HeadTrainer
from finetune.search.summary import border_warnings, candidates, difference, summary
from finetune.search.tables import print_search, sentence
from finetune.search.trials import TRIALS, FoldResult, Trial, read_trials

TINY = {"head": "mlp", "epochs": 4, "hidden": 8}


def trial(stage="final", loss=1.0, wrong=(), n=100, state="complete", **params):
    folds = [FoldResult(0, n, loss, list(wrong))] if state == "complete" else []
    return Trial(0, stage, state, params, folds)


def timeless(record):
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.fixture(scope="module")
def overlapping():
    return task(*clouds(150, 12))


@pytest.fixture(scope="module")
def found(overlapping):
    return Search("probe", {}, trials=20).fit(overlapping, None)


def test_a_search_is_a_method(overlapping, found):
    search = Search("probe", {}, trials=20)
    assert (search.name, search.resumable, search.inputs) == ("probe-search", True, "features")
    again = search.fit(overlapping, None)
    assert timeless(found.choice["search"]) == timeless(again.choice["search"])
    scores = [fitted.decision_function(overlapping.train) for fitted in (found, again)]
    assert np.array_equal(*scores)


def test_where_nothing_is_better_the_defaults_remain():
    given = task(*clouds(90, 60, apart=0.2))
    found = Search("probe", {}, trials=12).fit(given, None)
    record = found.choice["search"]
    best, second = record["finalists"][:2]
    assert best["default"]
    assert best["loss"] < second["loss"]
    assert "The defaults are the best" in sentence(record)
    alone = make_method("probe").fit(given, None)
    assert found.choice["l2"] == alone.choice["l2"]
    assert np.array_equal(found.decision_function(given.train), alone.decision_function(given.train))


def test_a_hidden_layer_wins_where_no_line_separates_the_classes():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 4)).astype(np.float32)
    given = task(X, ((X[:, 0] * X[:, 1]) > 0).astype(np.int64))
    fitted = Search("probe", {}, trials=15).fit(given, None)
    record = fitted.choice["search"]
    best, default = record["finalists"][0], record["finalists"][-1]
    assert default["default"]
    assert best["accuracy"] > default["accuracy"] + 0.2
    assert record["difference"]["low"] > 0.1
    assert fitted.choice["head"] == "mlp"
    assert {name: fitted.choice[name] for name in record["over"]} == best["params"]
    console = Console(width=100, file=io.StringIO())
    print_search(record, console)
    screen = console.file.getvalue()
    assert f"{best['accuracy']:.1%}" in screen
    assert f"{default['loss']:.4f}" in screen


def test_all_trials_are_in_the_files(found, tmp_path):
    record = found.choice["search"]
    (tmp_path / TRIALS).write_text(found.files[TRIALS])
    trials = read_trials(tmp_path)
    assert len([t for t in trials if t.stage != "final"]) == record["trials"] == 20
    assert len([t for t in trials if t.stage == "final"]) == len(record["finalists"]) == 5
    page = found.files["search.html"]
    assert page.count("<circle") >= sum(bool(t.params) for t in trials)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_is_given_is_not_searched():
    search = Search("probe", {"head": "mlp", "activation": "tanh"}, trials=3)
    assert set(search.space) == {"lr", "l2", "hidden"}
    assert search.fit(task(*clouds(60, 6)), None).choice["activation"] == "tanh"
    linear = Search("probe", {"head": "linear"}, trials=3)
    assert set(linear.space) == {"l2", "loss"}
    assert "head" not in linear.fit(task(*clouds(60, 6)), None).choice
    assert set(Search("last-layers", {"lr": 0.001}).space) == {"weight_decay", "batch_size"}
    assert set(Search("full", {}, over=["layer-decay", "lr"]).space) == {"layer_decay", "lr"}


def test_the_defaults_of_a_hidden_layer_are_the_probes_own():
    given = task(*clouds(90, 6))
    trainer = HeadTrainer(given, TINY)
    folds = trainer.cross_validate({}, 5, trainer.trial({}, None))
    own = make_method("probe", **TINY).fit(given, None).choice
    assert np.mean([1 - len(f.wrong) / f.n for f in folds]) == pytest.approx(own["cv_accuracy"])


def test_an_interrupted_search_continues_from_the_checkpoints(overlapping, tmp_path, monkeypatch):
    given = replace(overlapping, checkpoints=tmp_path / "unfinished")
    train, calls = HeadTrainer.trial, []

    def interrupted(self, params, watch):
        calls.append(params)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return train(self, params, watch)

    monkeypatch.setattr(HeadTrainer, "trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Search("probe", TINY, trials=10).fit(given, None)
    calls[:] = [None] * 6
    resumed = Search("probe", TINY, trials=10).fit(given, None)
    assert len(calls) == 6 + 5
    monkeypatch.undo()
    whole = Search("probe", TINY, trials=10).fit(overlapping, None)
    assert timeless(resumed.choice["search"]) == timeless(whole.choice["search"])
    lines = [
        [timeless(json.loads(line)) for line in fitted.files[TRIALS].splitlines()]
        for fitted in (resumed, whole)
    ]
    assert lines[0] == lines[1]
    assert np.array_equal(
        resumed.decision_function(overlapping.train), whole.decision_function(overlapping.train)
    )


def test_a_training_that_diverges_never_wins(overlapping):
    fitted = Search("probe", {**TINY, "lr": 10.0}, trials=12, over=["l2", "activation"]).fit(
        overlapping, None
    )
    trials = [json.loads(line) for line in fitted.files[TRIALS].splitlines()]
    diverged = [t for t in trials if t["state"] == "diverged"]
    assert diverged
    assert all(t["loss"] is None and not t["folds"] for t in diverged)
    finalists = [point["params"] for point in fitted.choice["search"]["finalists"]]
    assert not any(t["params"] in finalists for t in diverged)
    with pytest.raises(TrainingError, match="every trial"):
        Search("probe", {"head": "mlp", "lr": 100.0}, trials=3).fit(overlapping, None)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("probes", {}, "Did you mean probe"),
        ("knn", {}, "knn has no options to search"),
        ("probe", {"trials": 0}, "--trials is 0"),
        ("probe", {"minutes": 0.0}, "--minutes is 0"),
        ("probe", {"minutes": math.nan}, "--minutes"),
        ("probe", {"over": ["momentun"]}, "no option 'momentun'"),
        ("probe", {"over": ["hiden"]}, "Did you mean hidden"),
        ("last-layers", {"over": ["hidden"]}, "no option 'hidden'"),
        ("full", {"over": ["layers"]}, "no option 'layers'"),
    ],
)
def test_what_does_not_exist_is_refused_before_any_work(method, settings, words):
    with pytest.raises(OptionError, match=words):
        Search(method, {}, **settings)


@pytest.mark.parametrize(
    ("given", "over", "words"),
    [
        ({"head": "mlp", "lr": 0.1}, ["lr"], "given and searched"),
        ({"head": "mlp", "lr": 0.1, "l2": 0.1, "hidden": 8, "activation": "relu"}, None, "nothing is left"),
        ({"lr": 0.1}, None, "linear head has no --lr"),
        ({"head": "linear"}, ["hidden"], "no option 'hidden'"),
    ],
)
def test_options_that_leave_nothing_to_search_are_refused(given, over, words):
    with pytest.raises(OptionError, match=words):
        Search("probe", given, over=over)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="one process"):
        Search("probe", {})


# What is said of it


def test_among_equals_the_default_is_the_best():
    trials = [trial("default"), trial(), trial(lr=0.1)]
    assert candidates(trials) == [(trials[1], True), (trials[2], False)]
    assert candidates([*trials, trial(loss=0.9, lr=0.2)])[0][0].params == {"lr": 0.2}
    assert candidates([trials[0], trials[2], trials[1]])[0] == (trials[1], True)


def test_without_a_default_that_converges_nothing_is_compared(overlapping):
    trials = [trial("default", state="diverged"), trial("search", lr=0.1), trial(lr=0.1)]
    record = summary(trials, SPACE, overlapping)
    assert not record["finalists"][0]["default"]
    assert record["difference"] is None
    assert "diverged" in sentence(record)


def test_a_best_value_at_the_end_of_its_range_is_said():
    (line,) = border_warnings([trial(lr=0.9, kind="a")], SPACE)
    assert line.startswith("The best lr (0.9) is at the upper end of the range searched, 0.0001 to 1:")
    assert "lower end" in border_warnings([trial(lr=1.2e-4)], SPACE)[0]
    assert border_warnings([trial(lr=0.01)], SPACE) == []
    assert border_warnings([trial()], SPACE) == []


def test_the_difference_is_paired(overlapping):
    rows = overlapping.folds.pairs[0][1].tolist()
    n = len(rows)
    same = difference(trial(wrong=rows[:3], n=n), trial(wrong=rows[:3], n=n), overlapping)
    assert (same["accuracy"], same["n"]) == (0, n)
    assert same["low"] < 0 < same["high"]
    better = difference(trial(n=n), trial(wrong=rows[:12], n=n), overlapping)
    assert better["accuracy"] == pytest.approx(12 / n)
    assert better["low"] > 0
    other = difference(trial(wrong=rows[:10], n=n), trial(wrong=rows[10:20], n=n), overlapping)
    assert other["high"] - other["low"] > 2 * (same["high"] - same["low"])


def test_images_of_one_group_count_as_one(overlapping):
    """Ten images of each thing, all right or all wrong: no more is known than from one image of each."""
    rows = overlapping.folds.pairs[0][1]
    groups = np.zeros(len(overlapping.train), int)
    groups[rows] = np.arange(len(rows)) // 10
    grouped = replace(overlapping, train=replace(overlapping.train, groups=groups))
    a, b = trial(n=len(rows)), trial(wrong=rows[:10].tolist(), n=len(rows))
    assert difference(a, b, overlapping)["low"] > 0
    assert difference(a, b, grouped)["low"] < 0
