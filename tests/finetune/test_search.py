"""The search: what it tries, what it gives up, and that it can be stopped."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from samples import clouds, task
from test_train import crops

import finetune
from finetune.cli.app import main
from finetune.errors import OptionError, TrainingError
from finetune.runs import Run
from finetune.search import Budget, Searching
from finetune.search.heads import MLP as SPACE
from finetune.search.heads import Heads
from finetune.search.sampler import draw, ranges
from finetune.search.space import OneOf, Real
from finetune.search.stages import Measured, Proposal, next_trial
from finetune.search.stopping import why_stop
from finetune.search.study import search
from finetune.search.trials import FILE, FoldResult, Trial, TrialLog
from finetune.search.winner import difference, standings


class Bowl:
    """A loss that is least at one rate, and better for one of two kinds."""

    rounds = 2
    finalists = 3

    def __init__(self, best=1e-2, low=1e-4, high=1.0):
        self.space = {"rate": Real(low, high, 1e-9, 1e3), "kind": OneOf(("a", "b"))}
        self.starts = [Proposal("coarse", {})]
        self.best = best
        self.calls = []

    def settings(self, values):
        return values

    def measure(self, proposal, earlier):
        self.calls.append(proposal)
        rate = proposal.values.get("rate", 1.0)
        loss = 0.1 + abs(math.log10(rate / self.best)) + 0.3 * (proposal.values.get("kind") == "a")
        return Measured([FoldResult(proposal.round, 10, loss, [])], [2 * loss, loss])


def searched(subject=None, seed=0, log=None, **budget):
    log = log or TrialLog(None)
    search(subject or Bowl(), Budget(**(budget or {"trials": 40})), seed, log, lambda line: None)
    return log.done


def plain(trials):
    """Trials without what the clock says."""
    return [replace(t, seconds=0, elapsed=0) for t in trials]


def trial(number, loss, stage="coarse", **values):
    return Trial(number, stage, values, score=loss, curve=[loss], folds=[FoldResult(0, 10, loss, [])])


def test_one_seed_the_same_trials_and_another_others():
    assert plain(searched(seed=1)) == plain(searched(seed=1))
    assert plain(searched(seed=1)) != plain(searched(seed=2))


def test_from_coarse_to_fine_to_final():
    done = searched(trials=40)
    assert len(done) == 40
    stages = [t.stage for t in done]
    assert stages == sorted(stages, key=("coarse", "fine", "final").index)
    assert done[0].values == {}
    away = {
        stage: np.abs([math.log10(t.values["rate"]) + 2 for t in done if t.stage == stage and t.values])
        for stage in ("coarse", "fine")
    }
    assert away["coarse"].max() > 1.5
    assert np.median(away["fine"]) < 0.5 * np.median(away["coarse"])
    best = standings(done, 1)[0]
    assert best.values["kind"] == "b"
    assert abs(math.log10(best.values["rate"] / 1e-2)) < 0.15
    assert {t.key for t in done if t.stage == "final"} >= {"{}"}  # the defaults are raced too


@pytest.mark.parametrize("best", [1e-6, 30.0])
def test_a_best_value_at_the_border_widens_the_range(best):
    said = []
    log = TrialLog(None)
    search(Bowl(best), Budget(60), 0, log, said.append)
    tried = [t.values["rate"] for t in log.done if t.values]
    assert min(tried) < 1e-4 or max(tried) > 1.0
    assert any("the range now reaches" in line for line in said)
    found = standings(log.done, 1)[0].values["rate"]
    assert abs(math.log10(found / best)) < 1


def test_a_range_is_never_widened_beyond_its_bounds():
    space = {"rate": Real(1e-3, 1e-1, 1e-3, 0.2)}
    trials = [trial(i, -r, rate=r) for i, r in enumerate([0.001, 0.01, 0.02, 0.05, 0.1])]
    within, notes = ranges(space, trials, trials)
    assert within["rate"] == (pytest.approx(-3), pytest.approx(math.log10(0.2)))
    assert "the range now reaches 0.2" in notes[0]
    assert draw(space, within, trials, 0, 5)["rate"] <= 0.2


def test_inside_the_range_nothing_is_widened():
    space = {"rate": Real(1e-4, 1.0, 1e-9, 1e3)}
    rates = 10.0 ** np.linspace(-4, 0, 17)
    trials = [trial(i, abs(math.log10(r) + 2), rate=float(r)) for i, r in enumerate(rates)]
    assert ranges(space, trials, trials) == ({"rate": (-4.0, 0.0)}, [])


def test_draws_stay_within_and_go_to_where_good_ones_fell():
    space = {"rate": Real(1e-4, 1.0, 1e-4, 1.0), "n": Real(2, 9, 2, 9, whole=True), "kind": OneOf(("a", "b"))}
    within, _ = ranges(space, [])
    even = [draw(space, within, [], 3, i) for i in range(60)]
    assert all(1e-4 <= v["rate"] <= 1 and v["n"] in range(2, 10) and v["kind"] in "ab" for v in even)
    assert {v["kind"] for v in even} == {"a", "b"}
    assert np.std([math.log10(v["rate"]) for v in even]) > 0.8
    trials = [
        trial(i, abs(math.log10(v["rate"]) + 2) + (v["kind"] == "a"), **v) for i, v in enumerate(even[:30])
    ]
    learned = [draw(space, within, trials, 3, i) for i in range(60)]
    assert np.median([abs(math.log10(v["rate"]) + 2) for v in learned]) < 0.5
    assert sum(v["kind"] == "b" for v in learned) > 45
    assert draw(space, within, trials, 3, 7) == learned[7]


def test_what_is_hopeless_is_stopped():
    others = [trial(i, loss) for i, loss in enumerate([1.0, 1.0, 1.0, 2.0, 2.0])]
    assert "worse than half" in why_stop([1.5], 4, others)
    assert why_stop([0.9], 4, others) == ""
    assert why_stop([1.5], 4, others[:4]) == ""  # too little company to be compared with
    assert why_stop([1.5], 1, others) == ""  # it is over anyway
    assert "rose" in why_stop([1.0, 1.6], 4, [])
    assert "rose" in why_stop([1.0, math.nan], 4, [])


def test_a_stopped_trial_is_shorter_and_never_wins():
    X, y = clouds(150, 12)
    subject = Heads(task(X, y), SPACE, {})
    good = [subject.measure(Proposal("coarse", {"rate": 0.05, "l2": 0.01}), []) for _ in range(5)]
    earlier = [Trial(i, "coarse", {}, score=0.1, curve=m.curve) for i, m in enumerate(good)]
    bad = subject.measure(Proposal("coarse", {"rate": 1e-5, "l2": 0.01}), earlier)
    assert "worse than half" in bad.stopped
    assert len(bad.curve) < len(good[0].curve)
    lost = subject.measure(Proposal("coarse", {"rate": 100.0, "l2": 100.0}), [])
    assert lost.stopped == "the loss was lost"
    assert not lost.folds
    ended = [trial(0, 1.0), replace(trial(1, 0.5, rate=1.0), stopped="worse")]
    assert standings(ended, 1)[0].values == {}


def test_killed_and_gone_on_with_it_makes_the_same_trials(tmp_path):
    whole_log = searched()
    (tmp_path / "a").mkdir()

    class Killed(Bowl):
        def measure(self, proposal, earlier):
            if len(self.calls) == 17:
                raise KeyboardInterrupt
            return super().measure(proposal, earlier)

    with pytest.raises(KeyboardInterrupt):
        searched(Killed(), log=TrialLog(tmp_path / "a"))
    file = tmp_path / "a" / FILE
    assert len(file.read_text().splitlines()) == 17
    with open(file, "a") as cut_short:
        cut_short.write('{"number": 17, "stage": "coa')
    again = Bowl()
    resumed = searched(again, log=TrialLog(tmp_path / "a"))
    assert plain(resumed) == plain(whole_log)
    assert len(again.calls) == 40 - 17
    assert standings(resumed, 1) == standings(whole_log, 1)
    assert TrialLog(tmp_path / "a").done == resumed


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 12])
def test_so_many_trials_and_no_more(trials):
    done = searched(trials=trials)
    assert 1 <= len(done) <= trials
    assert standings(done, 1)[0].folds


def test_no_trial_begins_after_the_minutes(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("finetune.search.study.time.perf_counter", lambda: 3.0 * next(clock))
    done = searched(minutes=1)  # each trial takes 3 seconds
    assert len(done) <= 20
    assert done[-2].elapsed < 60
    assert {t.stage for t in done} == {"coarse", "fine", "final"}


def test_both_limits_hold():
    assert Budget(10, 1.0).stage(2, 0.0, 9) == "coarse"
    assert Budget(10, 1.0).stage(2, 59.0, 9) == "final"
    assert Budget(10, 1.0).stage(2, 60.0, 9) is None
    assert Budget(10, 1.0).stage(10, 0.0, 9) is None


def test_the_winner_is_never_worse_than_the_defaults_by_the_same_score():
    class Worse(Bowl):
        def measure(self, proposal, earlier):
            loss = 1.0 if proposal.values else 0.5
            return Measured([FoldResult(proposal.round, 10, loss, [])])

    done = searched(Worse())
    best = standings(done, 1)[0]
    assert best.defaults
    assert best.values == {}


def test_nothing_left_is_an_error():
    class Lost(Bowl):
        def measure(self, proposal, earlier):
            return Measured(stopped="the loss was lost")

    with pytest.raises(TrainingError):
        standings(searched(Lost()), 1)


def test_only_complete_rounds_count():
    done = [
        trial(0, 1.0),
        *(
            replace(trial(1 + i, loss, "final", **v), round=r)
            for i, (loss, r, v) in enumerate([(1.0, 0, {}), (0.9, 0, {"rate": 1.0}), (0.1, 1, {})])
        ),
    ]
    assert standings(done, 1)[0].values == {"rate": 1.0}


def test_the_difference_is_paired():
    def standing(wrong):
        done = [replace(trial(0, 1.0), folds=[FoldResult(0, 100, 1.0, wrong)])]
        return standings(done, 1)[0]

    same = difference(standing([1, 2, 3]), standing([1, 2, 3]))
    assert same["accuracy"] == 0
    assert same["low"] < 0 < same["high"]
    better = difference(standing([]), standing(list(range(12))))
    assert better["accuracy"] == pytest.approx(0.12)
    assert better["low"] > 0
    unlike = difference(standing(list(range(20))), standing(list(range(20, 40))))
    assert unlike["high"] - unlike["low"] > 3 * (same["high"] - same["low"])


# As a strategy


def test_a_search_is_a_strategy():
    X, y = clouds(150, 12)
    given = task(X, y)
    found = Searching("probe", {}, trials=20).fit(given, None)
    again = Searching("probe", {}, trials=20).fit(given, None)
    record = found.choice["search"]
    assert record["loss"] <= record["defaults"]["loss"]
    assert {k: v for k, v in record.items() if k != "seconds"} == {
        k: v for k, v in again.choice["search"].items() if k != "seconds"
    }
    assert np.array_equal(found.logits(given.train), again.logits(given.train))
    assert len(found.files[FILE].splitlines()) == record["trials"] <= 20


def test_what_is_given_is_not_searched():
    searching = Searching("probe", {"head": "mlp", "activation": "tanh"}, trials=8)
    assert "activation" not in searching.space
    found = searching.fit(task(*clouds(90, 6)), None)
    assert found.choice["activation"] == "tanh"
    linear = Searching("probe", {"head": "linear"}, trials=8)
    assert set(linear.space) == {"l2", "loss"}
    assert "head" not in linear.fit(task(*clouds(90, 6)), None).choice


@pytest.mark.parametrize(
    ("strategy", "settings", "words"),
    [
        ("probes", {}, "Did you mean probe"),
        ("knn", {}, "no method"),
        ("probe", {"trials": 0}, "trials"),
        ("probe", {"minutes": 0.0}, "minutes"),
        ("probe", {"minutes": math.nan}, "minutes"),
        ("probe", {"over": ["raet"]}, "Did you mean rate"),
        ("last-layers", {"over": ["hidden"]}, "no parameter"),
    ],
)
def test_bad_input_is_refused_before_any_work(strategy, settings, words):
    with pytest.raises(OptionError, match=words):
        Searching(strategy, {}, **settings)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="one process"):
        Searching("probe", {})


def test_given_and_searched_at_once_is_refused():
    with pytest.raises(OptionError, match="is given"):
        Searching("probe", {"head": "mlp", "rate": 0.1}, over=["rate"])


# The command


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_leaves_an_ordinary_run(photos, here, capsys):
    assert main(["search", "--data", str(photos), "--trials", "12", "--out", "run"]) == 0
    screen = capsys.readouterr().out
    assert "12 trials" in screen
    assert "search.html" in screen
    run = Run.load("run")
    assert run.strategy == "probe"
    assert run.choice["search"]["trials"] == 12
    assert run.command.startswith("finetune search --strategy probe")
    assert "--trials 12" in run.command
    page = (here / "run" / "search.html").read_text()
    assert page.count("<circle") >= 12
    assert "<script" not in page
    assert not re.search(r'(src|href)="http', page)
    assert len(TrialLog(here / "run").done) == 12
    assert not (here / "run.unfinished").exists()
    assert main(["predict", "run", str(photos / "china"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["prediction"] for row in shown["predictions"]] == ["china"] * 12


def test_held_out_labels_change_nothing_that_is_chosen(here):
    for name, swapped in (("a", False), ("b", True)):
        crops(here / name / "train")
        crops(here / name / "val", names=("flower", "china") if swapped else ("china", "flower"), n=4, seed=1)
    (here / "b/val/flower").rename(here / "b/val/x")
    (here / "b/val/china").rename(here / "b/val/flower")
    (here / "b/val/x").rename(here / "b/val/china")
    runs = [finetune.fit(data=here / name, search={"trials": 10}, out=here / f"run-{name}") for name in "ab"]
    records = [{k: v for k, v in run.choice["search"].items() if k != "seconds"} for run in runs]
    assert records[0] == records[1]
    logs = [plain(TrialLog(run.path).done) for run in runs]
    assert logs[0] == logs[1]
    assert runs[0].test.accuracy == 1 - runs[1].test.accuracy


def test_a_stopped_search_is_resumed_by_the_command(photos, here, monkeypatch, capsys):
    whole_run = finetune.fit(data=photos, search={"trials": 12}, out=here / "whole")
    measure, calls = Heads.measure, []

    def interrupted(self, proposal, earlier):
        calls.append(proposal)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return measure(self, proposal, earlier)

    monkeypatch.setattr(Heads, "measure", interrupted)
    assert main(["search", "--data", str(photos), "--trials", "12", "--out", "run"]) == 130
    monkeypatch.setattr(Heads, "measure", measure)
    assert not (here / "run").exists()
    assert len(TrialLog(here / "run.unfinished").done) == 5
    assert main(["resume", "run"]) == 0
    assert plain(TrialLog(here / "run").done) == plain(TrialLog(here / "whole").done)
    weights = [(here / name / "model" / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    assert Run.load("run").choice["search"]["values"] == whole_run.choice["search"]["values"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--trials", "0"], "--trials"),
        (["--strategy", "probes"], "probe"),
        (["--over", "speed"], "speed"),
        (["--strategy", "last-layers", "--head", "mlp"], "--head"),
    ],
)
def test_bad_commands_end_with_one_message(flags, words, photos, here, capsys):
    assert main(["search", "--data", str(photos), *flags]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert len(shown.err.strip().splitlines()) <= 3
    assert not list(here.glob("runs/*"))


def test_last_layers_too(photos, here):
    run = finetune.fit(
        data=photos,
        strategy="last-layers",
        search={"trials": 6, "over": ["rate", "weight_decay"]},
        epochs=2,
        views=1,
        out=here / "run",
    )
    record = run.choice["search"]
    assert [t.values for t in TrialLog(run.path).done[: record["starts"]]] == [
        {"rate": rate} for rate in (3e-4, 1e-4, 1e-3)
    ]
    assert record["stages"]["final"] >= 1
    assert run.choice["rate"] == record["values"]["rate"]


def test_next_trial_is_a_function_of_what_was_done():
    subject = Bowl()
    done = searched(subject)
    for n in range(len(done)):
        proposal = next_trial(subject, Budget(40), 0, done[:n])
        assert (proposal.stage, proposal.values, proposal.round) == (
            done[n].stage,
            done[n].values,
            done[n].round,
        )
