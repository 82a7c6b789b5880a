"""``last-layers`` and ``full`` from a task to a saved network."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from networks import held, labelled, task, tensors
from photos import crops
from PIL import Image

import zoo
from finetune.errors import OptionError, RunError
from finetune.method import Images
from finetune.methods import make_method
from finetune.strategies.probe import Probe
from finetune.training import network
from finetune.training.learner import Diverged
from finetune.trust import Knowledge
from zoo.images.decode import UnreadableImage

METHODS = {"last-layers": {"num_views": 2}, "full": {"img_size": 32}}

SHORT = {"epochs": 2, "lr": 1e-3, "batch_size": 8}


@pytest.fixture(scope="module")
def backbone(small_networks):
    return small_networks("test_resnet")


@pytest.fixture(scope="module")
def photos(few_photos):
    return few_photos


def fit(name, backbone, photos, **more):
    method = make_method(name, **{**SHORT, **METHODS[name], **more})
    return method.fit(task(backbone, photos), backbone)


@pytest.mark.parametrize("name", METHODS)
def test_one_seed_one_result(name, backbone, photos):
    method = make_method(name, **SHORT, **METHODS[name], interpolate=False)
    one, two, other = (method.fit(task(backbone, photos, seed=seed), backbone) for seed in (5, 5, 6))
    assert held(one.network) == held(two.network) != held(other.network)
    assert one.choice == two.choice


@pytest.mark.parametrize("name", METHODS)
def test_what_was_held_out_of_the_training_gives_prediction_sets(name, backbone, photos, tmp_path):
    """By the scores of the images that the choice was made on, calibrated as the saved network's are."""
    given = task(backbone, photos)
    found = make_method(name, **SHORT, **METHODS[name]).fit(given, backbone)
    rows, scores = found.validation
    assert len(set(rows.tolist())) == len(rows) == found.choice["n_validation"]
    right = scores.argmax(axis=1) == given.train.labels[rows]
    assert right.mean() == pytest.approx(found.choice["validation_accuracy"])
    knowledge = Knowledge.of(found, given.train)
    assert knowledge.sets.n == len(rows)
    knowledge.save(tmp_path)
    loaded = Knowledge.load(tmp_path)
    assert (
        loaded.prediction_sets(np.eye(2), 0.75).tolist()
        == knowledge.prediction_sets(np.eye(2), 0.75).tolist()
    )
    with pytest.raises(RunError, match="Train with a strategy that cross-validates"):
        loaded.unfamiliarity(given.train.X, 0.2)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_of_the_process_changes(name, backbone, photos):
    method, given = make_method(name, **SHORT, **METHODS[name]), task(backbone, photos)
    method.bench(given, backbone)  # the frozen part's output is stored now, and no engine is made
    state, theirs = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    settings = torch.get_num_threads(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
    method.fit(given, backbone)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == theirs).all()  # noqa: NPY002
    assert settings == (torch.get_num_threads(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled())


@pytest.mark.parametrize("bn", ["frozen", "train"])
@pytest.mark.parametrize("name", METHODS)
def test_timm_gives_the_same_scores(name, bn, backbone, photos, tmp_path):
    found = fit(name, backbone, photos, bn=bn)
    found.save(tmp_path)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    config = timm.data.resolve_data_config(model.pretrained_cfg)
    assert config["input_size"] == (3, *found.input_size)
    transform = timm.data.create_transform(**config, is_training=False)
    paths, labels = labelled(photos)
    with torch.inference_mode():
        theirs = model(torch.stack([transform(Image.open(path)) for path in paths])).numpy()
    images = Images(paths, labels, np.empty((len(paths), 0), np.float32))
    np.testing.assert_allclose(found.decision_function(images), theirs, atol=1e-4)


def test_what_was_chosen_is_recorded_by_name(backbone, photos):
    last_layers, full = (fit(name, backbone, photos) for name in METHODS)
    for choice in (last_layers.choice, full.choice):
        assert choice["lr"] == 1e-3
        assert choice["epochs"] == choice["of_epochs"] == 2
        assert choice["cv_accuracy"] is None
        assert 0 <= choice["validation_accuracy"] <= 1
        assert choice["n_validation"] == 16
    assert (last_layers.choice["layers"], last_layers.choice["num_views"]) == (1, 2)
    assert full.choice["img_size"] == [32, 32]


def test_unfreeze_is_recorded_as_what_was_trained(backbone, photos):
    choice = fit("last-layers", backbone, photos, unfreeze=("layer3", "layer4.*.bn1.*")).choice
    assert choice["unfreeze"] == ["layer3", "layer4.*.bn1.*"]
    assert "layers" not in choice


def test_history_has_a_line_an_epoch(backbone, photos):
    found = fit("full", backbone, photos, interpolate=False)
    assert [line["epoch"] for line in found.history] == [1, 2]
    assert all(line["lr"] > 0 and np.isfinite(line["loss"]) for line in found.history)
    json.dumps(found.history)
    json.dumps(found.choice)


# Interpolation with the start


@pytest.mark.parametrize("name", METHODS)
def test_with_alpha_0_the_result_is_the_probe(name, backbone, photos, monkeypatch):
    """Labels that say nothing: training cannot be better than the probe, and is not done at all."""
    given = task(backbone, photos)
    labels = np.random.default_rng(0).permutation(given.train.labels)
    given = dataclasses.replace(given, train=dataclasses.replace(given.train, labels=labels))
    options = {**SHORT, **METHODS[name], "lr": 1e-7, **({"img_size": 64} if name == "full" else {})}
    found = make_method(name, **options).fit(given, backbone)
    assert found.choice["alpha"] == 0
    assert found.history == []
    assert "not better than the classifier it started from" in found.warnings[0]
    probe = Probe().fit(given, backbone)
    ours, theirs = (fitted.decision_function(given.train).argmax(axis=1) for fitted in (found, probe))
    assert (ours == theirs).all()
    frozen = {n: v for n, v in tensors(backbone.folder).items() if not n.startswith(backbone.classifier)}
    now = held(found.network)
    assert all(now[n] == v for n, v in frozen.items())


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_result_lies_between_the_start_and_the_trained_network(alpha, backbone, photos, monkeypatch):
    from finetune.training import choice

    start = fit("full", backbone, photos, lr=1e-12, interpolate=False)
    end = fit("full", backbone, photos, interpolate=False)
    monkeypatch.setattr(choice, "choose_alpha", lambda *given: (alpha, []))
    found = fit("full", backbone, photos)
    assert found.choice["alpha"] == alpha
    name = "layer1.0.conv1.weight"
    low, high, ours = (f.network.get_parameter(name).detach() for f in (start, end, found))
    assert not torch.allclose(low, high)
    torch.testing.assert_close(ours, low + alpha * (high - low), rtol=0, atol=1e-7)


# The bench


@pytest.mark.parametrize("name", METHODS)
def test_a_bench_begins_each_time_as_the_first(name, backbone, photos):
    bench = make_method(name, **SHORT, **METHODS[name]).bench(task(backbone, photos), backbone)
    rows, few = np.arange(16), np.arange(0, 16, 2)
    first = bench.begin(rows)
    with torch.no_grad():
        for parameter in bench.job.network.parameters():
            if parameter.requires_grad:
                parameter += 1
    again, other, random = bench.begin(rows), bench.begin(few), bench.begin(rows, "random")
    weight = f"{backbone.classifier}.weight"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first[weight], other[weight])  # fitted to other rows
    assert random[weight].abs().max() < 0.01
    assert bench.scores(rows).shape == (16, 2)


def test_where_the_size_is_another_the_probe_is_fitted_on_features_of_that_size(backbone, photos):
    small, own = (
        make_method("full", **SHORT, img_size=side).bench(task(backbone, photos), backbone)
        for side in (32, 64)
    )
    X = task(backbone, photos).train.X
    np.testing.assert_allclose(own.prepared.X, X, atol=1e-4)
    assert np.abs(small.prepared.X - X).max() > 1e-3


def test_small_images_are_not_enlarged(backbone, tmp_path):
    """The network's own size is 160 here; the images have 120 pixels, and 128 are the least."""
    large = zoo.load(f"local-dir:{backbone.folder}")
    large.preprocess = dataclasses.replace(large.preprocess, input_size=(160, 160))
    bench = make_method("full", **SHORT).bench(task(large, crops(tmp_path / "photos", n=3)), large)
    assert bench.prepared.size == (128, 128)


# Faults


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 6}, "5 stages"),
        ({"unfreeze": ("nothing.*",)}, r"nothing\.\*"),
        ({"unfreeze": ("layer9.*",)}, "layer1"),
    ],
    ids=str,
)
def test_what_the_network_lacks_is_named(options, words, backbone, photos):
    with pytest.raises(OptionError, match=words):
        make_method("last-layers", **options).fit(task(backbone, photos), backbone)


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_diverges_says_what_to_try(name, backbone, photos):
    options = {"lr": 99, "clip_grad": 0, "opt": "sgd", "epochs": 9, "batch_size": 4, "head_init": "random"}
    with pytest.raises(Diverged, match=r"(The loss rose from|The gradient is not finite).*Try a lower --lr"):
        make_method(name, **{**METHODS[name], **options}).fit(task(backbone, photos), backbone)


def test_an_image_that_is_gone_is_named(backbone, tmp_path, monkeypatch):
    data = crops(tmp_path / "photos", n=3)
    given, build = task(backbone, data), network.build

    def build_and_remove(*arguments):  # after the features are computed, before images are read again
        (data / "china" / "0.png").unlink(missing_ok=True)
        return build(*arguments)

    monkeypatch.setattr(network, "build", build_and_remove)
    with pytest.raises(UnreadableImage, match=r"0\.png"):
        make_method("full", **SHORT).fit(given, backbone)


def test_the_options_are_known_without_torch_and_numpy():
    heavy = ("torch", "numpy", "timm", "PIL")
    code = f"import sys, finetune.methods; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# A real network


@pytest.mark.slow
def test_an_engine_computes_what_the_frozen_part_does(tmp_path):
    from finetune.training import parts
    from finetune.training.activations import TorchFront, ViewSpace, activations, front
    from finetune.training.augment import Augment
    from finetune.training.cut import cut

    before = zoo.load("efficientnet_lite0")
    built = network.build(before, 2, 0)
    parts.freeze_all_but(built, parts.last_stages(built, 1), "frozen")
    divided = cut(built, before.preprocess.input_size)
    assert divided.module == "blocks.5"
    paths = sorted(crops(tmp_path / "photos", n=2).rglob("*.png"))
    by_engine = front(before, divided, "auto", "fp32", print)
    assert not isinstance(by_engine, TorchFront)
    size = before.preprocess.input_size
    for number, augment in ((0, None), (1, Augment.from_level("light"))):
        one, two = (
            activations(paths, [ViewSpace(space, size, augment, number, 0)], tmp_path)[0]
            for space in (by_engine, TorchFront(before, divided))
        )
        assert np.abs(one - two).max() < 2e-2 * np.abs(two).max()
