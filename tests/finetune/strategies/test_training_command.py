"""Trainings as people start them: one seed one result, held-out means held out, and faults in one message."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from networks import Zoo, tensors
from PIL import Image
from photos import crops

import finetune
from finetune.cli.app import main

STRATEGIES = {"last-layers": {"views": 2, "rate": 1e-4}, "full": {"size": 32, "rate": 1e-4}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"local-dir:{Zoo(tmp_path_factory.mktemp('networks'))('test_resnet').folder}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def fit(data, model, strategy, out, **more):
    settings = {"epochs": 2, "engine": "torch", **STRATEGIES[strategy], **more}
    return finetune.fit(data, model, strategy, out=out, **settings)


def saved(run):
    return (run.path / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_seed_one_result(strategy, photos, model, here):
    one, two, other = (
        fit(photos, model, strategy, name, seed=seed) for name, seed in (("one", 5), ("two", 5), ("other", 6))
    )
    assert saved(one) == saved(two) != saved(other)
    assert one.without_times() == two.without_times()
    assert (one.path / "predictions.csv").read_bytes() == (two.path / "predictions.csv").read_bytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labels_of_held_out_images_change_nothing_that_is_chosen(strategy, model, here, tmp_path):
    for name in ("plain", "swapped"):
        crops(tmp_path / name / "train", n=8)
        crops(tmp_path / name / "val", n=4, seed=1)
    val = tmp_path / "swapped" / "val"
    for old, new in (("china", "kept"), ("flower", "china"), ("kept", "flower")):
        (val / old).rename(val / new)
    plain, swapped = (fit(tmp_path / name, model, strategy, name) for name in ("plain", "swapped"))
    assert swapped.test.accuracy == pytest.approx(1 - plain.test.accuracy)
    assert swapped.choice == plain.choice
    assert saved(swapped) == saved(plain)


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_timm_and_predict_give_the_same_logits_at_a_smaller_size(bn, photos, model, here, capsys):
    run = fit(photos, model, "full", "run", bn=bn)
    paths = sorted(photos.rglob("*.png"))
    assert main(["predict", "run", *map(str, paths), "--engine", "torch", "--json"]) == 0
    ours = [row["logits"] for row in json.loads(capsys.readouterr().out)["predictions"]]
    network = timm.create_model(f"local-dir:{run.path / 'model'}", pretrained=True).eval()
    config = timm.data.resolve_data_config(network.pretrained_cfg)
    assert config["input_size"] == (3, 32, 32)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        theirs = network(torch.stack([transform(Image.open(path)) for path in paths])).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_trained_network_can_be_trained_on(photos, model, here):
    first = fit(photos, model, "last-layers", "first")
    second = fit(photos, f"local-dir:{first.path / 'model'}", "full", "second", size=64)
    assert tensors(first.path / "model").keys() == tensors(second.path / "model").keys()


BAD = {
    "full": {
        "--rate 0": "--rate",
        "--rate -1": "--rate",
        "--rate nan": "--rate",
        "--epochs 0": "--epochs",
        "--size 7": "--size",
        "--augment wild": "light",
        "--bn melted": "frozen",
        "--start cold": "probe",
        "--optimizer lion": "adamw",
        "--schedule sine": "cosine",
        "--layers 1": "--layers",
        "--rate 1e6": "--rate",
        "--rate inf": "--rate",
        "--epochs -3": "--epochs",
        "--batch 0": "--batch",
        "--smoothing nan": "--smoothing",
        "--smoothing 1": "--smoothing",
        "--ema 1": "--ema",
        "--momentum 1": "--momentum",
        "--warmup 1": "--warmup",
        "--layer-decay 0": "--layer-decay",
        "--clip -1": "--clip",
        "--accumulate 33": "--accumulate",
        "--weight-decay -1": "--weight-decay",
        "--mixup nan": "--mixup",
        "--patience 0": "--patience",
        "--class-weight heavy": "balanced",
        "--sampling some": "balanced",
        "--first-size 7": "--first-size",
        "--size 5000": "--size",
        "--views 3": "--views",
        "--unfreeze layer4": "--unfreeze",
        "--l2 0.1": "--l2",
    },
    "last-layers": {
        "--layers 6": "5 stages",
        "--views 0": "--views",
        "--unfreeze nothing.*": "nothing.*",
        "--layers -1": "0 to 5",
        "--views -2": "--views",
        "--unfreeze layer9.*": "layer1",
        "--cutmix 0.5": "--cutmix",
        "--size 64": "--size",
        "--hidden 5": "--hidden",
    },
    "probe": {"--views 3": "--views", "--bn train": "--bn", "--unfreeze fc": "--unfreeze"},
}
CASES = [(strategy, flags, words) for strategy, cases in BAD.items() for flags, words in cases.items()]


@pytest.mark.parametrize(("strategy", "flags", "words"), CASES)
def test_what_cannot_be_is_one_message_and_leaves_nothing(
    strategy, flags, words, photos, model, here, capsys
):
    arguments = ["--strategy", strategy, "--data", str(photos), "--model", model, "--engine", "torch"]
    assert main([*arguments, "--out", "run", *flags.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert len(shown.err.strip().splitlines()) <= 4
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_lost_loss_names_what_was_seen_and_what_to_try(strategy, photos, model, here, capsys):
    arguments = ["--strategy", strategy, "--data", str(photos), "--model", model, "--out", "run"]
    arguments += ["--rate", "99", "--clip", "0", "--optimizer", "sgd", "--epochs", "9", "--batch", "4"]
    assert main([*arguments, "--engine", "torch", "--start", "random", "--patience", "99"]) == 2
    error = capsys.readouterr().err
    assert "The loss rose from" in error or "The gradient is not finite" in error
    assert "Try a lower --rate" in error
    assert "Traceback" not in error
    assert not (here / "run").exists()


def test_a_picture_that_is_gone_is_named(photos, model, here, tmp_path, monkeypatch):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    from finetune.strategies import full

    plain = full.build

    def build(*given):  # after the features are computed, before pictures are read again
        (data / "china" / "0.png").unlink(missing_ok=True)
        return plain(*given)

    monkeypatch.setattr(full, "build", build)
    with pytest.raises(Exception, match=r"0\.png"):
        fit(data, model, "full", "run")
    assert not (here / "run").exists()
