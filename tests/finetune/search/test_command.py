"""``finetune search``: an ordinary run, resumed after an interruption, blind to held-out labels."""

import json
from dataclasses import replace

import pytest
from photos import crops

import finetune
from finetune.cli.app import main
from finetune.options import as_words
from finetune.runs import Run
from finetune.search.heads import HeadTrainer
from finetune.search.study import JOURNAL
from finetune.search.trials import read_trials

#: A head that is trained in no time.
SMALL = {"head": "mlp", "hidden": 16, "epochs": 4}


def timeless(run):
    """A run's trials without what the clock says."""
    return [replace(t, seconds=0.0) for t in read_trials(run)]


def test_the_command_leaves_an_ordinary_run(photos, here, capsys):
    flags = ["--trials", "6", "--over", "lr", "l2", "--out", "run", *as_words(SMALL)]
    assert main(["search", "--data", str(photos), *flags]) == 0
    screen = capsys.readouterr().out
    assert "6 trials" in screen
    assert "search.html" in screen
    run = Run.load("run")
    assert run.strategy == "probe"
    assert run.choice["search"]["trials"] == 6
    assert run.choice["search"]["over"] == ["lr", "l2"]
    assert run.command.startswith("finetune search --strategy probe")
    assert "--trials 6 --over lr l2" in run.command
    assert (here / "run" / "search.html").exists()
    assert len(read_trials(here / "run")) == 6 + len(run.choice["search"]["finalists"])
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
    runs = [
        finetune.fit(data=here / name, search={"trials": 6}, out=here / f"run-{name}", **SMALL)
        for name in "ab"
    ]
    assert timeless(runs[0].path) == timeless(runs[1].path)
    assert runs[0].choice["search"]["finalists"] == runs[1].choice["search"]["finalists"]
    assert runs[0].test.accuracy == 1 - runs[1].test.accuracy


def test_an_interrupted_search_is_resumed_by_the_command(photos, here, monkeypatch):
    whole = finetune.fit(data=photos, search={"trials": 8}, out=here / "whole", **SMALL)
    train, calls = HeadTrainer.trial, []

    def interrupted(self, params, watch):
        calls.append(params)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return train(self, params, watch)

    monkeypatch.setattr(HeadTrainer, "trial", interrupted)
    flags = ["--trials", "8", "--out", "run", *as_words(SMALL)]
    assert main(["search", "--data", str(photos), *flags]) == 130
    assert not (here / "run").exists()
    assert (here / "run.unfinished" / JOURNAL).exists()
    assert main(["resume", "run"]) == 0
    assert len(calls) == 5 + 4  # the fifth again, and those after it
    assert timeless(here / "run") == timeless(here / "whole")
    weights = [(here / name / "model" / "head.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    assert Run.load("run").choice["search"]["finalists"] == whole.choice["search"]["finalists"]


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


@pytest.mark.slow
def test_last_layers_too(photos, here):
    run = finetune.fit(
        data=photos,
        strategy="last-layers",
        search={"trials": 5, "over": ["lr", "weight_decay"]},
        epochs=2,
        num_views=1,
        out=here / "run",
    )
    record = run.choice["search"]
    trials = read_trials(run.path)
    assert [t.params for t in trials[:3]] == [{"lr": 3e-4}, {"lr": 1e-4}, {"lr": 1e-3}]
    assert all(len(t.folds) == record["folds"] == 3 for t in trials if t.stage == "final")
    assert run.choice["lr"] == record["finalists"][0]["params"]["lr"]
