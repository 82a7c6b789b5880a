"""Training of a network's own parameters: what learns, what stays, and how it goes."""

import dataclasses
import math

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file
from test_train import contents, crops
from timm.models import save_for_hf
from torch import nn

import finetune
import zoo
from finetune.cli import main
from finetune.data.split import folds
from finetune.errors import OptionError, TrainingError
from finetune.strategies import full, last_layers
from finetune.task import Images, Task
from finetune.training import learner as learning
from finetune.training import parts
from finetune.training.activations import TorchFront, ViewSpace, activations, front
from finetune.training.augment import LEVELS, Augment
from finetune.training.checkpoint import Leg
from finetune.training.cut import cut
from finetune.training.learner import Diverged, Learner
from finetune.training.loop import Job, _chunks, train
from finetune.training.network import build, depthwise_in_fp32
from finetune.training.recipe import Recipe
from finetune.training.sources import Activations, Pictures
from finetune.training.team import Team

SIZE = 64
ARCHITECTURES = {
    "test_resnet": "residual sums",
    "test_efficientnet": "depthwise convolutions, padding as TensorFlow's",
    "mobilenetv3_small_050": "squeeze and excitation, a convolution after the pooling",
    "test_convnext": "layer normalisation, parameters outside of modules",
    "regnetx_002": "grouped convolutions",
    "densenet121": "concatenation",
    "repvgg_a0": "branches that run side by side",
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """Make a small backbone of an architecture, with random weights whose normalisations do something."""
    made = {}

    def make(architecture):
        if architecture not in made:
            torch.manual_seed(0)
            network = timm.create_model(architecture, pretrained=False)
            network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, SIZE, SIZE)}
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
                    nn.init.uniform_(module.weight, 0.5, 1.5)  # timm begins some at zero
            folder = tmp_path_factory.mktemp(architecture)
            save_for_hf(network, str(folder), safe_serialization=True)
            made[architecture] = zoo.load(f"local-dir:{folder}")
        return made[architecture]

    return make


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=10)


@pytest.fixture
def task(photos):
    """Make the task of a backbone on the pictures."""

    def make(network, seed=0):
        paths = tuple(sorted(photos.rglob("*.png")))
        labels = np.array([int(path.parent.name == "flower") for path in paths])
        X = zoo.extract(network, paths, engine="torch").X
        return Task(Images(paths, labels, X), folds(labels, 2), ("china", "flower"), seed, engine="torch")

    return make


SHORT = {"epochs": 2, "rate": 1e-4, "batch": 8, "amp": False}


def options(strategy, **more):
    views = {"views": 2} if strategy is last_layers else {}
    return strategy.Options(**{**SHORT, **views, **more})


# What learns and what stays


# With random weights, the loss of the last explodes at the first update.
@pytest.mark.parametrize("bn", ["frozen", "train"])
@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a != "repvgg_a0"])
def test_the_frozen_part_keeps_its_bytes(architecture, bn, backbone, task, tmp_path):
    before = backbone(architecture)
    trained = last_layers.fit(task(before), before, options(last_layers, bn=bn))
    trained.save(tmp_path)
    learned = parts.last_stages(build(before, 2, 0), 1)
    old, new = (load_file(folder / "model.safetensors") for folder in (before.folder, tmp_path))
    live = {name: tensor.numpy() for name, tensor in trained.network.state_dict().items()}
    stages = {name.rpartition(".")[0] for name in learned}
    for name, values in old.items():
        if name in learned or (name.rpartition(".")[0] in stages and bn == "train"):
            continue
        assert new[name].tobytes() == values.tobytes(), name
        assert live[name].tobytes() == values.tobytes(), name
    moved = [name for name in learned if name in old and old[name].tobytes() != new[name].tobytes()]
    assert len(moved) > 0.9 * len(learned) - 2


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "densenet121"])
@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_statistics_move_only_where_that_is_asked_for(architecture, bn, backbone, task):
    before = backbone(architecture)
    trained = full.fit(task(before), before, options(full, bn=bn, size=SIZE))
    old = load_file(before.folder / "model.safetensors")
    state = trained.network.state_dict()
    means = [name for name in old if name.endswith("running_mean")]
    assert means
    moved = [name for name in means if state[name].numpy().tobytes() != old[name].tobytes()]
    assert len(moved) == (len(means) if bn == "train" else 0)
    weights = [name for name in old if name.endswith("weight") and old[name].ndim == 4]
    assert all(state[name].numpy().tobytes() != old[name].tobytes() for name in weights)


def test_patterns_name_what_learns(backbone, task):
    before = backbone("test_resnet")
    trained = last_layers.fit(
        task(before), before, options(last_layers, unfreeze=("layer3.0", "*.bn1.weight"))
    )
    old, new = load_file(before.folder / "model.safetensors"), trained.network.state_dict()
    moved = {name for name in old if old[name].shape == tuple(new[name].shape)
             and old[name].tobytes() != new[name].numpy().tobytes()}  # fmt: skip
    assert moved
    assert all(n.startswith(("layer3.0", "fc.")) or n.endswith("bn1.weight") for n in moved)
    assert any(name.startswith("layer1") for name in moved)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cut_network_computes_the_same(architecture, backbone):
    network = build(backbone(architecture), 2, 0)
    parts.freeze_all_but(network, parts.last_stages(network, 1), "frozen")
    divided = cut(network, (SIZE, SIZE))
    network.eval()
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    seen = []
    network.get_submodule(divided.module).register_forward_hook(lambda m, given, output: seen.append(output))
    with torch.no_grad():
        at_cut = divided.head(x)
        torch.testing.assert_close(divided.tail(at_cut), network(x))
    torch.testing.assert_close(at_cut, seen[-1])
    assert tuple(at_cut.shape[1:]) == divided.shape
    assert not any(p.requires_grad for p in divided.head.parameters())
    learned = {id(p) for p in network.parameters() if p.requires_grad}
    assert learned == {id(p) for p in divided.tail.parameters() if p.requires_grad}


# Cached activations are the plain way


@pytest.mark.parametrize(("kept", "tolerance"), [(np.float32, 1e-4), (np.float16, 2e-3)])
def test_updates_on_kept_activations_are_those_of_the_whole_network(kept, tolerance, backbone, photos):
    before = backbone("test_efficientnet")
    paths = sorted(photos.rglob("*.png"))
    labels = np.array([int(path.parent.name == "flower") for path in paths])
    augment = Augment.of("light")
    networks = [build(before, 2, 0) for _ in range(2)]
    for network in networks:
        parts.freeze_all_but(network, parts.last_stages(network, 1), "frozen")
    start = {n: p.detach().clone() for n, p in networks[0].named_parameters() if p.requires_grad}
    divided = cut(networks[0], (SIZE, SIZE))
    views = [
        ViewSpace(TorchFront(before, divided), (SIZE, SIZE), augment, number, 0).prepare(Image.open(path))
        for number, path in enumerate(paths, 1)
    ]
    images = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (before.preprocess.mean, before.preprocess.std))
    images = (images / 255 - mean) / std
    with torch.no_grad():
        given = torch.from_numpy(divided.head(images).numpy().astype(kept)).float()
    y = torch.from_numpy(labels)
    for network, inputs, run in ((networks[0], given, divided.tail), (networks[1], images, networks[1])):
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.01)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(run(inputs), y).backward()
            optimizer.step()
    for name, value in start.items():
        ours, plain = (dict(network.named_parameters())[name].detach() - value for network in networks)
        assert (ours - plain).norm() <= tolerance * plain.norm() + 1e-7, name


def test_an_engine_computes_what_the_frozen_part_does(photos):
    before = zoo.load("efficientnet_lite0")
    network = build(before, 2, 0)
    parts.freeze_all_but(network, parts.last_stages(network, 1), "frozen")
    divided = cut(network, before.preprocess.input_size)
    assert divided.module == "blocks.5"
    paths = sorted(photos.rglob("*.png"))[:3]
    by_engine = front(before, divided, "auto", "fp32", print)
    assert not isinstance(by_engine, TorchFront)
    for number, augment in ((0, None), (1, Augment.of("light"))):
        one, two = (
            activations(paths, [ViewSpace(f, before.preprocess.input_size, augment, number, 0)])[0]
            for f in (by_engine, TorchFront(before, divided))
        )
        assert np.abs(one - two).max() < 2e-2 * np.abs(two).max()


# The loop


class Squares:
    """A source of small tensors."""

    def __init__(self, n=20, side=8):
        self.x = torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.x)

    def batch(self, rows, epoch):
        return self.x[torch.from_numpy(rows)]


def small_network(norm=True):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    network.group_matcher = lambda coarse=False: {"stem": r"^0", "blocks": r"^(\d+)"}
    return network


def small_job(network, n=20):
    return Job(network, network, Squares(n), np.arange(n) % 2, 2, 0, Team(), print)


def test_a_last_batch_of_one_joins_the_one_before():
    network = small_network()
    parts.freeze_all_but(network, parts.everything(network), "train")
    recipe = Recipe(rate=0.01, epochs=2, batch=8, bn="train")
    assert [len(chunk) for chunk in _chunks(np.arange(17), recipe, Team())] == [8, 9]
    frozen = dataclasses.replace(recipe, bn="frozen")
    assert [len(chunk) for chunk in _chunks(np.arange(17), frozen, Team())] == [8, 8, 1]
    outcome = train(small_job(network, 17), np.arange(17), recipe, Leg(None, 60), "")
    assert all(math.isfinite(line["loss"]) for line in outcome.log)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def one_update(recipe, weights=(1.0, 1.0), tail=None, n=20):
    """Parameters after one update, and the learner."""
    network = small_network(norm=False)
    parts.freeze_all_but(network, parts.everything(network), "frozen")
    said = []
    learner = Learner(
        network, tail(network) if tail else network, recipe, 10, np.array(weights), 0, Team(), said.append
    )
    source = Squares(n)
    learner.update(source.batch(np.arange(n), 0), torch.arange(n) % 2, 3, n)
    return {name: p.detach().clone() for name, p in network.named_parameters()}, said


@pytest.mark.parametrize("more", [{}, {"smoothing": 0.1}, {"optimizer": "sgd"}])
def test_a_batch_in_parts_counts_as_one(more):
    recipe = Recipe(rate=0.01, epochs=1, **more)
    whole, _ = one_update(recipe, (0.5, 1.5))
    apart, _ = one_update(dataclasses.replace(recipe, accumulate=4), (0.5, 1.5))
    for name, value in whole.items():
        torch.testing.assert_close(apart[name], value, rtol=1e-4, atol=1e-6)


class Hungry(nn.Module):
    """Lacks memory for more than some images."""

    def __init__(self, network, most, error):
        super().__init__()
        self.network, self.most, self.error = network, most, error

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        return self.network(x)


OUT_OF_MEMORY = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
)


@pytest.mark.parametrize("error", [MemoryError(), OUT_OF_MEMORY])
def test_out_of_memory_halves_the_batch_and_says_so(error):
    recipe = Recipe(rate=0.01, epochs=1)
    whole, _ = one_update(recipe)
    halved, said = one_update(recipe, tail=lambda network: Hungry(network, 6, error))
    for name, value in whole.items():
        torch.testing.assert_close(halved[name], value, rtol=1e-4, atol=1e-6)
    assert len(said) == 2
    assert "worked through in 4 parts" in said[-1]


def test_other_errors_and_too_little_memory_for_one_image_are_not_hidden():
    with pytest.raises(RuntimeError, match="something else"):
        one_update(
            Recipe(rate=0.01, epochs=1), tail=lambda net: Hungry(net, 6, RuntimeError("something else"))
        )
    with pytest.raises(TrainingError, match="one image at a time"):
        one_update(Recipe(rate=0.01, epochs=1), tail=lambda network: Hungry(network, 0, MemoryError()))


def test_nan_stops_with_the_parameters_as_they_were():
    network = small_network()
    parts.freeze_all_but(network, parts.everything(network), "frozen")
    job = small_job(network)
    job.source.x[0] = math.nan
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with pytest.raises(Diverged, match="not finite"):
        train(job, np.arange(20), Recipe(rate=0.01, epochs=1, batch=20), Leg(None, 60), "")
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_loss_that_is_lost_says_what_to_try(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--strategy", "full", "--data", str(photos), "--rate", "90", "--size", "64", "--clip", "0"]
    assert main([*arguments, "--epochs", "3", "--optimizer", "sgd", "--start", "random"]) == 2
    error = capsys.readouterr().err
    assert "Try a lower --rate" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_rate_rises_and_falls_as_asked(schedule):
    network = small_network(norm=False)
    recipe = Recipe(rate=0.01, epochs=1, schedule=schedule, warmup=0.2)
    learner = Learner(network, network, recipe, 30, np.ones(2), 0, Team(), print)
    source, rates = Squares(), []
    for step in range(30):
        learner.update(source.batch(np.arange(4), 0), torch.arange(4) % 2, step, 4)
        rates.append(learner.rate)
    assert (
        0 < rates[0] < rates[3] < max(rates) == pytest.approx(0.01, rel=0.1 if schedule == "cosine" else 1e-6)
    )
    assert rates[-1] < 1e-3 if schedule != "constant" else rates[-1] == pytest.approx(0.01)


def test_layer_decay_slows_early_layers_and_biases_do_not_decay(backbone):
    network = build(backbone("test_resnet"), 2, 0)
    recipe = Recipe(rate=0.1, epochs=1, layer_decay=0.5, weight_decay=0.3)
    groups = learning._optimizer(network, recipe).param_groups
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = dict(network.named_parameters())
    assert scale[id(named["conv1.0.weight"])] < scale[id(named["layer2.0.conv1.weight"])] < 1
    assert scale[id(named["fc.weight"])] == 1
    assert decay[id(named["fc.weight"])] == 0.3
    assert decay[id(named["fc.bias"])] == decay[id(named["layer1.0.bn1.weight"])] == 0


def test_the_moving_average_is_used_in_the_end():
    network = small_network(norm=False)
    recipe = Recipe(rate=0.05, epochs=1, batch=10, ema=0.9)
    train(small_job(network), np.arange(20), recipe, Leg(None, 60), "")
    plain, average = small_network(norm=False), None
    learner = Learner(plain, plain, dataclasses.replace(recipe, ema=0.0), 2, np.ones(2), 0, Team(), print)
    order = np.random.default_rng([0, 1, 0]).permutation(np.arange(20))
    average = [p.detach().clone() for p in plain.parameters()]
    for step, rows in enumerate((order[:10], order[10:])):
        learner.update(Squares().batch(rows, 0), torch.from_numpy(rows % 2), step, 10)
        decay = min(0.9, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * p.detach() for a, p in zip(average, plain.parameters(), strict=True)
        ]
    for ours, expected in zip(network.parameters(), average, strict=True):
        torch.testing.assert_close(ours.detach(), expected)


def test_mixed_pictures_have_shares_of_two_classes():
    network = small_network(norm=False)
    learner = Learner(
        network, network, Recipe(rate=0.1, epochs=1, mixup=0.5), 2, np.ones(2), 0, Team(), print
    )
    x, y = Squares().batch(np.arange(8), 0), torch.arange(8) % 2
    target = learner._target(x.clone(), y, 0)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(target, learner._target(x.clone(), y, 0))


def test_balanced_sampling_draws_classes_alike_and_balanced_weights_average_one():
    from finetune.training.loop import _class_weights, _order

    labels = np.repeat([0, 1], [180, 20])
    job = dataclasses.replace(small_job(small_network()), labels=labels)
    order = _order(job, np.arange(200), Recipe(rate=1, epochs=1, sampling="balanced"), 0)
    assert 0.35 < labels[order].mean() < 0.65
    weights = _class_weights(labels, 2, True)
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[1] == pytest.approx(9 * weights[0])


# Views


@pytest.mark.parametrize("level", [level for level in LEVELS if LEVELS[level]])
@pytest.mark.parametrize("size", [(300, 20), (20, 300), (3, 3), (120, 120)])
def test_views_fit_and_are_functions_of_the_seed(level, size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8))
    augment = Augment.of(level)
    one, two, other = (augment(picture, (48, 64), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (48, 64, 3)
    assert (one == two).all()
    assert (one != other).any()


def test_nothing_is_mirrored_where_that_is_asked_for():
    picture = Image.fromarray(np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None], 64, 0)).convert("RGB")
    for seed in range(10):
        view = Augment.of("light", flip=False)(picture, (32, 32), np.random.default_rng(seed))
        assert view[:, :8].mean() < view[:, -8:].mean()


def test_pictures_kept_and_read_anew_are_the_same(photos):
    paths = sorted(photos.rglob("*.png"))[:6]
    preprocess = zoo.load("efficientnet_lite0").preprocess
    kept, read = (Pictures(paths, preprocess, Augment.of("light"), 0, limit) for limit in (10**9, 0))
    rows = np.arange(6)
    for epoch in (None, 0, 1):
        assert torch.equal(kept.batch(rows, epoch), read.batch(rows, epoch))
    assert not torch.equal(kept.batch(rows, 0), kept.batch(rows, 1))
    assert kept.useful_size() == (128, 128)


def test_rows_begin_with_different_views_and_see_all():
    views = [np.full((5, 4), number, np.float32) for number in range(3)]
    source = Activations(views, (4, 1, 1), 0)
    seen = np.stack([source.batch(np.arange(5), epoch)[:, 0, 0, 0].numpy() for epoch in range(3)])
    assert (np.sort(seen, axis=0) == np.arange(3)[:, None]).all()
    assert (source.batch(np.arange(5), None) == 0).all()


# Whole runs


@pytest.mark.parametrize("strategy", ["last-layers", "full"])
def test_one_seed_one_result_and_timm_reads_it(strategy, photos, tmp_path):
    more = {"size": 64} if strategy == "full" else {"views": 2}
    runs = [
        finetune.fit(photos, strategy=strategy, seed=seed, out=tmp_path / name, epochs=1, rate=1e-3, **more)
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    ]
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]
    assert len((runs[0].path / "metrics.jsonl").read_text().splitlines()) == 1
    paths = sorted(photos.rglob("*.png"))[:4]
    model = timm.create_model(f"local-dir:{runs[0].path / 'model'}", pretrained=True).eval()
    config = timm.data.resolve_data_config(model.pretrained_cfg)
    assert config["input_size"] == ((3, 64, 64) if strategy == "full" else (3, 224, 224))
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        logits = model(torch.stack([transform(Image.open(path)) for path in paths])).numpy()
    np.testing.assert_allclose(finetune.load(runs[0].path).logits(paths), logits, atol=2e-3)


def test_held_out_labels_change_nothing_that_is_chosen(photos, tmp_path, monkeypatch):
    from finetune.data import split as splitting

    plain = finetune.fit(photos, strategy="full", out=tmp_path / "a", epochs=1, size=32)
    monkeypatch.setattr(
        "finetune.train._images",
        lambda dataset, X, rows: Images(
            tuple(dataset.paths[i] for i in rows),
            dataset.labels[rows] if len(rows) > 8 else 1 - dataset.labels[rows],
            X[rows],
        ),
    )
    other = finetune.fit(photos, strategy="full", out=tmp_path / "b", epochs=1, size=32)
    assert splitting
    assert other.test.accuracy == pytest.approx(1 - plain.test.accuracy)
    assert other.choice == plain.choice
    one, two = ((run.path / "model" / "model.safetensors").read_bytes() for run in (plain, other))
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["full", "--rate", "0"], "--rate"),
        (["full", "--rate", "-1"], "--rate"),
        (["full", "--rate", "nan"], "--rate"),
        (["full", "--epochs", "0"], "--epochs"),
        (["full", "--size", "7"], "--size"),
        (["full", "--augment", "wild"], "light"),
        (["full", "--bn", "melted"], "frozen"),
        (["full", "--start", "cold"], "probe"),
        (["full", "--optimizer", "lion"], "adamw"),
        (["full", "--schedule", "sine"], "cosine"),
        (["full", "--layers", "1"], "--layers"),
        (["last-layers", "--views", "0"], "--views"),
        (["last-layers", "--cutmix", "1"], "--mixup"),
        (["last-layers", "--layers", "99"], "8 stages"),
        (["last-layers", "--layers", "-1"], "--layers"),
        (["last-layers", "--unfreeze", "nothing.*"], "nothing.*"),
        (["probe", "--layers", "1"], "--layers"),
        (["probe", "--rate", "0.1", "--epochs", "3"], "--"),
    ],
)
def test_what_cannot_be_is_one_clear_message(arguments, words, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--data", str(photos), "--strategy", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_recipes_refuse_what_is_not_a_number():
    for field in ("rate", "momentum", "weight_decay", "warmup", "smoothing", "mixup", "ema"):
        with pytest.raises(OptionError):
            Recipe(**{"rate": 0.1, "epochs": 1, field: math.nan})


def test_depthwise_convolutions_stay_fp32_under_autocast(backbone, monkeypatch):
    network = build(backbone("test_efficientnet"), 2, 0)
    seen, x = set(), torch.randn(2, 3, SIZE, SIZE)

    def computes(self, given, weight, bias):
        out = plain(self, given, weight, bias)
        seen.add((self.groups > 1, out.dtype))
        return out

    plain = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", computes)
    with depthwise_in_fp32(network), torch.autocast("cpu", torch.bfloat16):
        out = network(x)
        assert torch.is_autocast_enabled("cpu")
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    assert torch.isfinite(out).all()
    assert not any(module._forward_pre_hooks for module in network.modules())
