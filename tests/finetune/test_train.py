"""From a folder to a run, end to end, on real weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photos import SAMPLES, SHARED, contents, crops, needs_photographs
from PIL import Image
from samples import task

import finetune
from finetune.cli.app import main
from finetune.heads import regularisation
from finetune.heads.linear import LOSSES
from finetune.methods import make_method
from finetune.runs import Run


def test_a_run_holds_everything(photos, here):
    run = finetune.fit(data=photos, seed=0, features="last")
    assert run.path == Path("runs/photos-probe-001")
    assert contents(run.path) == [
        "feature_map.jpg",
        "feature_map.json",
        "metrics.jsonl",
        "model/README.md",
        "model/config.json",
        "model/model.safetensors",
        "model/prediction_sets.json",
        "model/unfamiliar.safetensors",
        "predictions.csv",
        "report.html",
        "run.json",
    ]
    assert run.test.n == 4
    assert run.test.accuracy == 1.0
    assert run.test.ci95[0] < 1
    assert run.split.kind == "stratified"
    assert (run.split.n_train, run.split.n_test) == (20, 4)
    assert run.reference.majority_accuracy == 0.5
    assert Run.load(run.path) == run.model_copy(update={"path": run.path})
    assert finetune.fit(data=photos).path == Path("runs/photos-probe-002")


def test_one_seed_one_result(photos, probe_run, here):
    one, other = (
        finetune.fit(data=photos, seed=seed, out=here / str(seed), features="last") for seed in (0, 4)
    )
    assert one.without_times() == probe_run.without_times()
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in (one, probe_run)]
    assert weights[0] == weights[1]
    assert other.choice != one.choice


def test_timm_gives_the_same_logits_without_us(photos, probe_run):
    paths = sorted((photos / "china").iterdir())[:5]
    code = f"""
import sys, json, timm, torch
from PIL import Image
model = timm.create_model("local-dir:{probe_run.path / "model"}", pretrained=True).eval()
config = timm.data.resolve_data_config(model.pretrained_cfg)
transform = timm.data.create_transform(**config, is_training=False)
with torch.inference_mode():
    batch = torch.stack([transform(Image.open(path)) for path in {[str(p) for p in paths]}])
    print(json.dumps(model(batch).tolist()))
print(json.dumps(model.pretrained_cfg["label_names"]))
assert "zoo" not in sys.modules and "finetune" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    logits, names = map(json.loads, done.stdout.splitlines())
    assert names == ["china", "flower"]
    np.testing.assert_allclose(
        finetune.load(probe_run.path).decision_function(paths), logits, rtol=1e-5, atol=1e-4
    )


def test_backbone_is_saved_byte_for_byte(probe_run):
    from safetensors.numpy import load_file

    import zoo

    before = load_file(zoo.load("efficientnet_lite0").folder / "model.safetensors")
    after = load_file(probe_run.path / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name].tobytes() != after[name].tobytes()]
    assert sorted(changed) == ["classifier.bias", "classifier.weight"]


def test_held_out_images_change_nothing_that_is_chosen(tmp_path, here):
    """Whatever stands in val/, training finds the same: it is evaluated once, at the end."""
    crops(tmp_path / "a" / "train")
    crops(tmp_path / "a" / "val", n=4, seed=1)
    crops(tmp_path / "b" / "train")
    crops(tmp_path / "b" / "val", names=("flower", "china"), n=5, seed=2)
    os.rename(tmp_path / "b/val/flower", tmp_path / "b/val/x")  # and with its labels swapped
    os.rename(tmp_path / "b/val/china", tmp_path / "b/val/flower")
    os.rename(tmp_path / "b/val/x", tmp_path / "b/val/china")
    a, b = (finetune.fit(data=tmp_path / name, out=here / name) for name in "ab")
    assert a.split.kind == "folders"
    assert a.choice == b.choice
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in (a, b)]
    assert weights[0] == weights[1]
    assert a.test.accuracy == 1.0
    assert b.test.accuracy == 0.0


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_unrelated_labels_give_chance_and_a_warning(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 20)).astype(np.float32), np.arange(300) % 3
    fitted = make_method("probe", loss=loss).fit(task(X, y), None)
    assert 0.23 < fitted.choice["cv_accuracy"] < 0.44
    if loss == "softmax":
        assert any("largest" in warning for warning in fitted.warnings)
        assert fitted.choice["l2"] > regularisation.FIRST  # the grid grew


def test_grid_grows_towards_weak():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = np.zeros((400, 3), np.float32)
    X[:, 0] = np.where(y, 1, -1) + 0.01 * rng.normal(size=400)
    fitted = make_method("probe").fit(task(X, y), None)
    assert fitted.choice["l2"] < regularisation.LAST
    tried = [point["l2"] for point in fitted.choice["curve"]]
    assert tried == sorted(tried, reverse=True)


def test_balanced_helps_the_rare_class():
    rng = np.random.default_rng(1)
    y = np.r_[np.zeros(300, np.int64), np.ones(30, np.int64)]
    X = (rng.normal(size=(330, 5)) + 1.0 * y[:, None]).astype(np.float32)
    recalls = []
    for weight in ("none", "balanced"):
        fitted = make_method("probe", class_weight=weight).fit(task(X, y), None)
        recalls.append((fitted.decision_function(task(X, y).train).argmax(axis=1)[y == 1] == 1).mean())
    assert recalls[1] > recalls[0] + 0.1


# The command line


def test_json_is_the_record_and_nothing_else(photos, here, capsys):
    assert main(["--strategy", "probe", "--data", str(photos), "--out", "run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((here / "run" / "run.json").read_text())
    assert shown["strategy"] == "probe"
    assert shown["test"]["n"] == 4


def test_screen_shows_the_number_and_what_to_do_next(photos, here, capsys):
    assert main(["--data", str(photos), "--out", "run"]) == 0
    screen = capsys.readouterr().out
    for words in (
        "held-out accuracy",
        "95% interval",
        "without the CNN",
        "finetune predict run",
        "report.html",
    ):
        assert words in screen


def test_predict(photos, probe_run, here, capsys):
    run = str(probe_run.path)
    (here / "note.txt").write_text("no image")
    assert main(["predict", run, str(photos / "flower"), "note.txt", "--top", "1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["prediction"] for row in shown["predictions"]] == ["flower"] * 12
    assert len(shown["predictions"][0]["top"]) == 1
    assert shown["skipped"] == [{"path": "note.txt", "reason": "not an image in a format we read"}]
    assert main(["predict", run, "note.txt"]) == 2
    assert main(["predict", run, str(photos / "china")]) == 0
    assert "china" in capsys.readouterr().out
    assert main(["predict", str(photos), "x.png"]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_hinge_on_the_same_path(photos, here):
    run = finetune.fit(data=photos, loss="hinge", class_weight="balanced", out=here / "run")
    assert run.choice["loss"] == "hinge"
    assert run.test.accuracy == 1.0


def broken(folder):
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            (folder / name / f"{i}.jpg").write_bytes(b"not an image")
    return folder


def one_image(folder):
    crops(folder)
    (folder / "rare").mkdir()
    Image.new("RGB", (50, 50)).save(folder / "rare" / "only.png")
    return folder


BAD = {
    "empty folder": (lambda f: f.mkdir() or f, [], "is empty"),
    "one class": (lambda f: crops(f, names=("china",)), [], "only one class"),
    "a class with one image": (one_image, [], "rare"),
    "missing path": (lambda f: f, [], "There is no"),
    "unknown model": (crops, ["--model", "resnet5o"], "resnet50"),
    "unknown strategy": (crops, ["--strategy", "prob"], "probe"),
    "all images broken": (broken, [], "not an image"),
    "unknown engine": (crops, ["--engine", "warp"], "openvino"),
    "unknown loss": (crops, ["--loss", "mse"], "softmax"),
    "unknown class weight": (crops, ["--class-weight", "heavy"], "balanced"),
    "negative seed": (crops, ["--seed", "-1"], "seed"),
    "unknown option": (crops, ["--speed", "3"], "--help"),
    "not a table": (lambda f: f.write_text("x") and f, [], "folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message_and_leaves_nothing(case, tmp_path, here, capsys):
    make, arguments, words = BAD[case]
    data = make(tmp_path / "data")
    assert main(["--data", str(data), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert words in shown.err
    assert len(shown.err.strip().splitlines()) <= 3
    assert not [p for p in here.rglob("*") if p.is_file()]
    assert not list(here.glob("runs/*"))


def test_unwritable_out(photos, here, capsys):
    (here / "file").touch()
    for out in ("file/run", "/proc/run"):  # not even root can write there
        assert main(["--data", str(photos), "--out", out]) == 2
        assert "--out" in capsys.readouterr().err


def test_out_that_is_something_else(photos, here, capsys):
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.txt").write_text("years of work")
    assert main(["--data", str(photos), "--out", "thesis"]) == 2
    assert "thesis" in capsys.readouterr().err
    assert (here / "thesis" / "chapter.txt").read_text() == "years of work"
    assert main(["--data", str(photos), "--out", "thesis/chapter.txt/run"]) == 2


def test_strict_refuses_what_is_skipped_otherwise(tmp_path, here, capsys):
    data = crops(tmp_path / "data")
    (data / "china" / "text.jpg").write_text("hello")
    (data / "china" / "empty.png").touch()
    (data / "flower" / "cut.jpg").write_bytes((SAMPLES / "flower.jpg").read_bytes()[:4000])
    assert main(["--data", str(data), "--strict", "--out", "run"]) == 2
    assert "text.jpg" in capsys.readouterr().err
    assert not (here / "run").exists()
    assert main(["--data", str(data), "--out", "run"]) == 0
    skipped = {file.path.as_posix(): file.reason for file in Run.load(here / "run").data.skipped}
    assert sorted(skipped) == ["china/empty.png", "china/text.jpg", "flower/cut.jpg"]
    assert skipped["china/empty.png"] == "empty file"
    assert "truncated" in skipped["flower/cut.jpg"]


def test_a_second_run_needs_no_heavy_library(photos, probe_run, here):
    code = (
        "import sys, json, finetune;"
        f"finetune.fit(data={str(photos)!r}, out='second');"
        "print(json.dumps([m for m in ('torch', 'timm', 'sklearn', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# Real photographs


@pytest.mark.slow
@needs_photographs
def test_ants_and_bees(here, tmp_path):
    run = finetune.fit(data=SHARED / "ants-bees", out=here / "ab")
    assert run.test.n == 153
    assert run.test.accuracy >= 0.95
    assert run.data.n_images == 398
    assert run.reference.raw_pixels_accuracy < 0.7


@pytest.mark.slow
@needs_photographs
def test_sign_digits(here):
    run = finetune.fit(data=SHARED / "sign-digits", out=here / "signs")
    assert run.data.classes == list("0123456789")
    assert run.test.accuracy >= 0.92
    assert run.reference.raw_pixels_accuracy > 0.6
