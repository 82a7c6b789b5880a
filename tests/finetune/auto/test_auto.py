"""``finetune auto`` from a folder to a run, with a small network and labels that are partly wrong."""

import json
from collections import Counter

import numpy as np
import pytest
from networks import Zoo
from photos import SHARED, crops, needs_photographs, tiles

import finetune
from finetune.auto import auto, candidates, ensemble, resume_auto
from finetune.auto.race import Race
from finetune.auto.standing import Gain
from finetune.baselines.knn import KNN
from finetune.cli.app import main
from finetune.experiment import Request
from finetune.runs import Run
from finetune.strategies.kernel import KernelRidge
from finetune.strategies.probe import Probe


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return f"local-dir:{Zoo(tmp_path_factory.mktemp('networks'))('test_resnet').folder}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Some images of each class lie in the other's folder, so that nothing can be without mistakes."""
    folder = tiles(tmp_path_factory.mktemp("data") / "photos", n=30)
    for a, b in (("china", "flower"), ("flower", "china")):
        for path in sorted((folder / a).glob("*.png"))[:8]:
            path.rename(folder / b / f"from-{a}-{path.name}")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def race(photos, network, minutes=30.0, **more):
    return auto(Request(str(photos), engine="torch"), minutes, models=[network], out="run", **more)


def test_with_hardly_any_time_the_probe_is_the_run(photos, network, here, capsys):
    said = []
    run = race(photos, network, 1e-3, log=said.append)
    assert run == Run.load("run")
    board = run.leaderboard
    assert [row.status for row in board.rows] == ["chosen"]
    assert run.strategy == board.rows[0].strategy == "probe"
    assert not board.beats_probe
    assert board.verdict.startswith("Nothing that was tried beats the plain probe")
    assert board.probe_accuracy == run.test.accuracy
    assert board.accuracy == board.uncorrected
    assert {"knn", "kernel", "majority", "last-layers"} <= {
        n.name.split()[0].rstrip(",") for n in board.not_tried
    }
    assert all("no time is left" in skipped.reason for skipped in board.not_tried)
    assert any("best so far" in line for line in said)
    assert not (here / "run.unfinished").exists()
    assert main(["predict", "run", str(photos / "china"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 30
    assert "Not tried" in printed(board, capsys)
    page = (here / "run" / "report.html").read_text()
    assert "What was tried" in page
    assert "no time is left" in page


def printed(board, capsys):
    from finetune.auto.tables import print_leaderboard
    from zoo.cli.console import stdout

    print_leaderboard(board, stdout())
    return capsys.readouterr().out


BRIEF = {"lr": 1e-3, "epochs": 1, "num_views": 1}


def test_a_network_is_trained_where_there_is_time(photos, network, here, monkeypatch):
    monkeypatch.setattr(candidates, "_TRAININGS", {"last-layers": (BRIEF,), "full": ()})
    steps = lambda self, slow: [lambda: self._trainings.try_training("last-layers")]  # noqa: E731
    monkeypatch.setattr(Race, "_steps", steps)
    said = []
    run = race(photos, network, log=said.append)
    trained = next(row for row in run.leaderboard.rows if row.strategy == "last-layers")
    assert {name: value for name, value in trained.options.items() if name != "amp"} == BRIEF
    assert trained.n_images == run.split.n_train  # there was time for all folds
    assert trained.status in ("chosen", "dropped")
    assert any("the speed of last-layers" in line for line in said)
    assert any("trying last-layers" in line for line in said)


@pytest.mark.slow
def test_everything_is_tried_and_the_command_repeats_the_winner(photos, network, here, monkeypatch):
    settings = {"last-layers": (BRIEF,), "full": ()}
    monkeypatch.setattr(candidates, "_TRAININGS", settings)
    run = race(photos, network)
    board = run.leaderboard
    tried = {row.strategy for row in board.rows}
    assert {"majority", "raw", "knn", "svm", "probe", "kernel", "last-layers"} <= tried
    assert any("mirror" in row.name for row in board.rows)
    assert any("whole image" in row.name for row in board.rows)
    losses = [row.log_loss for row in board.rows[1:]]
    assert losses == sorted(losses)
    assert board.accuracy <= board.uncorrected
    assert board.ci95[0] <= board.accuracy <= board.ci95[1]
    trained = next(row for row in board.rows if row.strategy == "last-layers")
    assert trained.n_images in (run.split.n_train, max(row.n_images for row in board.rows))
    words = board.command.split()
    assert main([*words[1:], "--out", "alone"]) == 0
    alone = Run.load("alone")
    assert alone.strategy == run.strategy
    assert alone.test == run.test


def test_ctrl_c_keeps_the_best_so_far(photos, network, here, monkeypatch):
    def stop(self, task, backbone):
        raise KeyboardInterrupt

    monkeypatch.setattr(KNN, "fit", stop)
    run = race(photos, network)
    assert run.leaderboard.stopped
    assert {row.strategy for row in run.leaderboard.rows} == {"probe"}
    assert Run.load("run").leaderboard == run.leaderboard


def test_what_was_tried_before_a_crash_is_not_tried_again(photos, network, here, monkeypatch):
    fits, fit, kernel = [], Probe.fit, KernelRidge.fit

    def count(self, task, backbone):
        fits.append(self.options.features)
        return fit(self, task, backbone)

    def crash(self, task, backbone):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Race, "_steps", lambda self, slow: [])
    monkeypatch.setattr(Probe, "fit", count)
    monkeypatch.setattr(KernelRidge, "fit", crash)
    with pytest.raises(RuntimeError):
        race(photos, network)
    before = [features for features in fits if features != "auto"]
    assert "last" in before
    assert (here / "run.unfinished" / "request.json").exists()
    monkeypatch.setattr(KernelRidge, "fit", kernel)
    fits.clear()
    run = resume_auto("run")
    assert fits.count("last") + fits.count("stages") <= 1  # the winner's or the plain probe's own fit
    assert {"kernel", "probe", "knn"} <= {row.strategy for row in run.leaderboard.rows}
    assert not (here / "run.unfinished").exists()


def test_an_ensemble_is_a_run_like_any_other(photos, network, here, monkeypatch, capsys):
    """Taken here whether it is better or not; by how much it must be is tested elsewhere."""
    monkeypatch.setattr(Race, "_steps", lambda self, slow: [])
    monkeypatch.setattr(ensemble, "greedy", lambda scores, labels: Counter({0: 1, len(scores) - 1: 3}))
    monkeypatch.setattr(Gain, "real", property(lambda self: True))
    run = race(photos, network, ensemble=True)
    assert run.strategy == "ensemble"
    assert "--ensemble" in run.leaderboard.command
    assert [member["weight"] for member in run.choice["members"]] == [0.25, 0.75]
    assert main(["predict", "run", str(photos / "china"), "--json"]) == 0
    shown = {row["path"]: row["scores"] for row in json.loads(capsys.readouterr().out)["predictions"]}
    assert len(shown) == 30
    assert main(["report", "run"]) == 0


def test_resume_leaves_other_trainings_to_their_own_command(here):
    from finetune.runs import Unfinished

    Unfinished("other").begin({"experiment": {}, "folder": str(here)})
    assert resume_auto("other") is None


BAD = {
    "no minutes": (["--minutes", "0"], "--minutes"),
    "negative minutes": (["--minutes", "-2"], "--minutes"),
    "a network that is unknown": (["--models", "resnet5o"], "resnet50"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message(case, photos, here, capsys):
    arguments, words = BAD[case]
    assert main(["auto", "--data", str(photos), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not list(here.glob("**/*unfinished*"))


def test_a_class_with_one_training_image(network, here, capsys):
    crops(here / "few" / "train")
    crops(here / "few" / "val", n=4, seed=1)
    for path in sorted((here / "few/train/china").iterdir())[1:]:
        path.unlink()
    command = ["auto", "--data", "few", "--engine", "torch", "--models", network, "--minutes", "1"]
    assert main(command) == 2
    assert "at least 2" in capsys.readouterr().err


@pytest.mark.slow
@needs_photographs
def test_sign_digits_in_three_minutes(here):
    """The figures are for a machine with nothing else to do."""
    run = auto(Request(str(SHARED / "sign-digits")), 3, out="run")
    assert run.test.accuracy >= 0.975
    assert run.seconds["total"] <= 200
    probe = finetune.fit(SHARED / "sign-digits", out="probe")
    assert "finetune auto" in probe.hint


@pytest.mark.slow
@needs_photographs
def test_nothing_beats_the_probe_on_ants_and_bees(here):
    run = auto(Request(str(SHARED / "ants-bees")), 1, out="run")
    assert run.test.accuracy >= run.leaderboard.probe_ci95[0]
    if not run.leaderboard.beats_probe:
        assert "Nothing that was tried beats the plain probe" in run.leaderboard.verdict
    assert finetune.fit(SHARED / "ants-bees", out="probe").hint is None
    assert np.isfinite(run.leaderboard.accuracy)
