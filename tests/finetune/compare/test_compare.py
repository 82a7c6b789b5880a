"""``finetune compare``, and the baselines as strategies, end to end, on crops of two photographs."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from photos import SHARED, contents, crops, needs_photographs
from PIL import Image
from samples import clouds, images, task

import finetune
from finetune.cli.app import main
from finetune.compare import compare as compare_request
from finetune.compare import measure
from finetune.data.split import folds
from finetune.experiment import Request
from finetune.method import Method
from finetune.runs import Run, read_metrics
from finetune.strategies.probe import Probe

QUICK = ["--repeats", "1", "--folds", "3"]


def compare(data, *, methods=("majority", "raw", "raw-knn", "knn", "svm", "probe"), repeats=None, **more):
    """Compare with a request made of keywords."""
    made = {name: more.pop(name) for name in ("seed", "group_by", "n_folds") if name in more}
    return compare_request(Request(str(data), **made), methods, repeats=repeats, **more)


# Baselines as strategies


@pytest.mark.parametrize("name", ["knn", "svm"])
def test_a_baseline_leaves_an_ordinary_run_that_predicts(name, photos, here, capsys):
    assert main(["--strategy", name, "--data", str(photos), "--out", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == name
    run = Run.load(here / "run")
    assert run.command.startswith(f"finetune --strategy {name} --data")
    assert run.test.accuracy == 1.0
    assert {"report.html", "predictions.csv", "metrics.jsonl"} <= set(contents(here / "run"))
    predictor = finetune.load(here / "run")
    assert predictor.predict(sorted((photos / "flower").iterdir())) == ["flower"] * 12
    assert main(["predict", "run", str(photos / "china")]) == 0


def test_knn_is_kept_as_arrays_and_its_curve_drawn(photos, here):
    run = finetune.fit(data=photos, strategy="knn", out=here / "run", max_k=8)
    assert [name for name in contents(run.path) if name.startswith("model/")] == [
        "model/README.md",
        "model/config.json",
        "model/head.safetensors",
        "model/model.safetensors",
        "model/prediction_sets.json",
        "model/unfamiliar.safetensors",
    ]
    lines = read_metrics(run.path)
    assert len(lines) == 8 * 3 * 2
    assert {"k", "metric", "weights", "cv_accuracy", "cv_std"} <= lines[0].keys()
    page = (run.path / "report.html").read_text()
    assert "Accuracy over number of neighbours k" in page
    assert page.count('class="mark') >= 8


def test_timm_gives_the_svms_logits(photos, here):
    import timm
    import torch

    run = finetune.fit(data=photos, strategy="svm", out=here / "run", features="last")
    paths = sorted((photos / "china").iterdir())[:3]
    model = timm.create_model(f"local-dir:{run.path / 'model'}", pretrained=True).eval()
    config = timm.data.resolve_data_config(model.pretrained_cfg)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        theirs = model(torch.stack([transform(Image.open(path)) for path in paths])).numpy()
    np.testing.assert_allclose(finetune.load(run.path).decision_function(paths), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["kn"], "knn"),
        (["svm", "--metric", "l1"], "--metric"),
        (["knn", "--metric", "l3"], "cosine"),
        (["knn", "--max-k", "0"], "greater than or equal to 1"),
    ],
)
def test_faulty_options_of_a_baseline(arguments, words, photos, here, capsys):
    assert main(["--strategy", *arguments, "--data", str(photos)]) == 2
    assert words in capsys.readouterr().err


def test_a_second_run_needs_neither_torch_nor_timm(photos, here):
    finetune.fit(data=photos, strategy="knn", out=here / "first")
    code = (
        "import sys, json; from finetune.train import fit; from finetune.compare import compare;"
        "from finetune.experiment import Request;"
        f"fit(data={str(photos)!r}, strategy='knn', out='second');"
        f"compare(Request({str(photos)!r}), methods=['knn', 'probe', 'raw'], repeats=1);"
        "print(json.dumps([m for m in ('torch', 'timm', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# finetune compare


def test_json_table_and_files(photos, here, capsys):
    command = ["compare", "--data", str(photos), *QUICK, "--csv", "t.csv", "--markdown", "t.md", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in found["methods"]]
    assert sorted(names) == ["kernel", "knn", "majority", "probe", "raw", "raw-knn", "svm"]
    accuracies = [row["test"]["accuracy"] for row in found["methods"]]
    assert accuracies == sorted(accuracies, reverse=True)
    for row in found["methods"]:
        assert {
            "name",
            "model",
            "test",
            "folds",
            "seconds",
            "n_parameters",
            "model_bytes",
        } <= row.keys()
        assert len(row["correct"]) == found["n_test"] == 4
        assert len(row["folds"]["accuracies"]) == 3
    assert len(found["pairs"]) == 21
    assert found["verdict"]
    assert found["advice"]
    with open("t.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == names
    assert "| method |" in (here / "t.md").read_text()
    assert contents(here / "runs" / "photos-compare")[:3] == ["compare.html", "compare.json", "compare.md"]
    main(command[:-1])
    screen = capsys.readouterr().out
    assert "best" in screen
    assert "Advice:" in screen


def computed(log):
    """Names of the methods that were measured, from the lines that say so."""
    return [line.partition(" ")[0].rstrip(":") for line in log if line.endswith(" s") and "%, " in line]


def test_what_is_done_is_not_done_again(photos, here, monkeypatch):
    ask = {"methods": ["majority", "knn"], "repeats": 1, "n_folds": 3}
    first = compare(photos, **ask)
    said = []
    more = compare(photos, **{**ask, "methods": ["majority", "knn", "probe"]}, log=said.append)
    assert computed(said) == ["probe"]
    kept = {row.name: row for row in more.methods}
    assert all(kept[row.name] == row for row in first.methods)
    for change in ({"seed": 1}, {"repeats": 2}, {"n_folds": 4}):
        said.clear()
        compare(photos, **{**ask, **change}, log=said.append)
        assert len(computed(said)) == 2
    said.clear()
    for path in (here / "runs/photos-compare/methods").iterdir():
        path.write_text("{")  # damaged
    compare(photos, **ask, log=said.append)
    assert len(computed(said)) == 2


def test_another_seed_another_split_and_one_seed_one_result(photos, here):
    ask = {"methods": ["knn", "probe"], "repeats": 1, "n_folds": 3}
    one, two = (compare(photos, **ask, out=here / name) for name in ("one", "two"))
    same = {"seconds": 0.0}
    for a, b in zip(one.methods, two.methods, strict=True):
        assert a.model_copy(update={**same, "folds": None}) == b.model_copy(update={**same, "folds": None})
        assert a.folds.accuracies == b.folds.accuracies


def test_held_out_images_change_nothing_that_is_chosen(tmp_path, here):
    crops(tmp_path / "a" / "train")
    crops(tmp_path / "a" / "val", n=4, seed=1)
    crops(tmp_path / "b" / "train")
    crops(tmp_path / "b" / "val", names=("flower", "china"), n=5, seed=2)
    (tmp_path / "b/val/flower").rename(tmp_path / "b/val/x")  # with its labels swapped
    (tmp_path / "b/val/china").rename(tmp_path / "b/val/flower")
    (tmp_path / "b/val/x").rename(tmp_path / "b/val/china")
    a, b = (compare(tmp_path / name, repeats=1, n_folds=3, out=here / name) for name in "ab")
    rows = {row.name: row for row in b.methods}
    for row in a.methods:
        assert row.choice == rows[row.name].choice
        assert row.folds.accuracies == rows[row.name].folds.accuracies
    assert rows["probe"].test.accuracy == 0.0


def test_a_method_without_shared_folds_is_fitted_again_on_every_fold(monkeypatch):
    """What strategies that train the network itself do: the same choices, nested."""
    X, y = clouds(60, 8, 2)

    class Slow(Probe):
        shares_folds = False
        cross_validate = Method.cross_validate

    monkeypatch.setattr(measure, "_saved_bytes", lambda *given: 0)
    backbone, outer = SimpleNamespace(name="net"), folds(y, 5)
    slow, quick = (
        measure.measure(method, task(X, y), images(X, y), outer, backbone) for method in (Slow(), Probe())
    )
    assert slow.folds.n_folds == 5
    assert slow.folds.mean == pytest.approx(quick.folds.mean, abs=0.05)
    assert slow.test == quick.test


def test_results_of_other_versions_and_settings_are_computed_again(photos, here, monkeypatch):
    log = []
    ask = {"methods": ["majority"], "repeats": 0, "log": log.append}
    compare(photos, **ask)
    compare(photos, **ask)
    assert computed(log) == ["majority"]
    monkeypatch.setattr("finetune.runs.machine.PACKAGES", ("finetune-zoo",))  # as if versions had changed
    compare(photos, **ask)
    assert computed(log) == ["majority", "majority"]


def test_engine_and_precision_reach_the_methods(photos, here, monkeypatch):
    given = []
    fit = Probe.fit
    monkeypatch.setattr(
        Probe, "fit", lambda self, task, backbone: given.append(task) or fit(self, task, backbone)
    )
    request = Request(str(photos), engine="torch", precision="fp32")
    compare_request(request, ["probe"], repeats=0, out="out")
    assert [(task.engine, task.precision) for task in given] == [("torch", "fp32")]


def test_groups_by_pattern_never_straddle(tmp_path, here):
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        for i in range(16):
            pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(data / name / f"subject{i // 2}-{i}.png")
    found = compare(
        data, methods=["majority", "knn"], group_by=r"(subject\d+)-", repeats=1, n_folds=3, out=here / "out"
    )
    assert found.split == "grouped"


BAD = {
    "unknown method": (["--methods", "prob"], "probe"),
    "everything in one group": (["--group-by", "(png)"], "one group"),
    "no group for some": (["--group-by", "(china)"], "12 of 24 images have no group"),
    "a pattern without a group": (["--group-by", "china"], "parentheses"),
    "no pattern at all": (["--group-by", "(["], "regular expression"),
    "no column of that name": (["--group-by", "subject"], "no column"),
    "unknown model": (["--model", "resnet5o"], "resnet50"),
    "no folds": (["--folds", "1"], "2 or more"),
    "fewer than no repeats": (["--repeats", "-1"], "0"),
    "negative seed": (["--seed", "-1"], "seed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message(case, photos, here, capsys):
    arguments, words = BAD[case]
    assert main(["compare", "--data", str(photos), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert words in shown.err


def test_a_folder_of_something_else_is_not_written_to(photos, here, capsys):
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.txt").write_text("years of work")
    assert main(["compare", "--data", str(photos), "--out", "thesis"]) == 2
    assert "chapter.txt" in capsys.readouterr().err
    assert contents(here / "thesis") == ["chapter.txt"]


def test_a_column_of_a_table_groups(photos, here, capsys):
    rows = ["path,label,person"]
    for name in ("china", "flower"):
        rows += [f"{photos}/{name}/{i}.png,{name},p{i % 4}" for i in range(12)]
    (here / "t.csv").write_text("\n".join(rows))
    command = ["compare", "--data", "t.csv", "--methods", "knn", "--group-by", "person", "--json"]
    assert main([*command, "--repeats", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "grouped"
    assert any("3 folds instead of 5" in warning for warning in found["warnings"])
    (here / "t.csv").write_text("\n".join(row.replace("p1", "p0") for row in rows).replace(",p2", ",p0"))
    (here / "t.csv").write_text((here / "t.csv").read_text().replace(",p3", ",p0"))
    assert main(command) == 2
    assert "one group" in capsys.readouterr().err


def test_fewer_images_than_folds_make_fewer_folds(tmp_path, here):
    found = compare(crops(tmp_path / "few", n=4), methods=["knn", "probe", "svm"], out=here / "out")
    assert found.methods[0].folds.n_folds == 3
    assert any("3 folds instead of 5" in warning for warning in found.warnings)


def test_one_network_that_cannot_be_had_does_not_stop_the_other(photos, here, capsys):
    entry = "{name: gone, architecture: resnet18, sources: [path: {file: gone.safetensors}]}"
    (here / "registry.yaml").write_text(f"models:\n  - {entry}\n")
    command = ["compare", "--data", str(photos), "--methods", "knn", *QUICK, "--json"]
    command += ["--registry", "registry.yaml", "--model", "gone"]
    assert main([*command, "efficientnet_lite0"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found["methods"]] == ["efficientnet_lite0"]
    assert "gone.safetensors" in found["failed"]["gone"]
    assert main(command) == 2
    assert "gone.safetensors" in capsys.readouterr().err


# Real photographs


@pytest.mark.slow
@needs_photographs
def test_ants_and_bees_cannot_be_ranked_by_two_images(here):
    found = compare(SHARED / "ants-bees", methods=["knn", "svm", "probe", "majority"], repeats=1, out="out")
    assert found.n_test == 153
    assert {found.best, *found.like_best} == {"knn", "svm", "probe"}
    assert "do not differ significantly on 153 images" in found.verdict
    assert found.advice.startswith("Use probe")
    assert min(row.test.accuracy for row in found.methods[:3]) >= 0.93


@pytest.mark.slow
@needs_photographs
def test_sign_digits(here):
    found = compare(SHARED / "sign-digits", methods=["knn", "svm", "probe"], repeats=0, out="out")
    cv = {row.name: row.choice["cv_accuracy"] for row in found.methods}
    assert 0.80 <= cv["knn"] <= 0.87
    assert 0.91 <= cv["svm"] <= 0.95
    assert 0.92 <= cv["probe"] <= 0.96
    assert any(pair.different for pair in found.pairs)
    assert "unlike ImageNet's" in found.advice
