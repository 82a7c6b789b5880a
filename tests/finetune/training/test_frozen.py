"""Frozen is frozen, what is cut computes the same, and what is kept of the frozen part trains the same."""

import tempfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import ARCHITECTURES, DESCENT, LAST, SIDE, STATISTICS, held, labelled, task, tensors, with_
from photos import crops
from PIL import Image

from finetune.errors import TrainingError
from finetune.methods import make_method
from finetune.training import parts
from finetune.training.activations import TorchFront, ViewSpace, activations, front
from finetune.training.augment import Augment
from finetune.training.checkpoint import Checkpoint
from finetune.training.cut import cut
from finetune.training.loop import Job, train
from finetune.training.network import build
from finetune.training.sources import Activations
from finetune.training.team import Team
from zoo.engines.contract import installed

#: Without decay, so that nothing moves but by its gradient, which smoothed labels keep from vanishing; two
#: updates with all images at once.
SHORT = {
    "epochs": 2, "lr": 1e-4, "batch_size": 8, "weight_decay": 0.0, "label_smoothing": 0.1, "clip_grad": 0.0,
    "interpolate": False,
}  # fmt: skip

#: Every architecture with both kinds of normalisation. What a batch does to the statistics is the same code
#: for all of them, so that two networks are enough for it in the quick tests.
WAYS = [
    pytest.param(*case.values, bn, marks=[pytest.mark.slow] if case.marks or bn == "train" else [])
    if case.values[0] not in ("test_resnet", "test_efficientnet")
    else pytest.param(*case.values, bn)
    for case in ARCHITECTURES
    for bn in ("frozen", "train")
]

NORMALISED = [way for way in WAYS if way.values[0] not in ("test_convnext", "test_nfnet")]


@pytest.fixture(scope="module")
def backbone(small_networks):
    return small_networks


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=4)


def trained(strategy, backbone, photos, folder, **more):
    """Bytes by name: of the network before, of the saved one, and of the one in memory."""
    fitted = make_method(strategy, **{**SHORT, **more}).fit(task(backbone, photos), backbone)
    fitted.save(folder)
    return tensors(backbone.folder), tensors(folder), held(fitted.network)


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


def is_statistic(name):
    return name.endswith(STATISTICS)


@pytest.mark.parametrize(("architecture", "bn"), WAYS)
def test_the_last_layers_are_trained_and_the_others_keep_their_bytes(
    architecture, bn, backbone, photos, tmp_path
):
    before, saved, live = trained(
        "last-layers", backbone(architecture), photos, tmp_path, num_views=1, layers=1, bn=bn
    )
    assert saved.keys() == before.keys() == live.keys()
    meant = {n for n in before if n.startswith(LAST[architecture]) and (bn == "train" or not is_statistic(n))}
    for after in (saved, live):
        moved = changed(before, after)
        assert moved - meant == set()
        assert {name for name in meant if name.endswith("weight")} - moved == set()
        assert {name for name in meant if is_statistic(name)} - moved == set()


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext"])
def test_with_no_layers_the_head_alone_is_trained(architecture, backbone, photos, tmp_path):
    before, saved, live = trained(
        "last-layers", backbone(architecture), photos, tmp_path, num_views=1, layers=0
    )
    assert changed(before, saved) == changed(before, live)
    assert all(name.startswith(("fc.", "head.")) for name in changed(before, saved))


@pytest.mark.parametrize(("architecture", "bn"), NORMALISED)
def test_of_a_whole_network_statistics_move_only_if_asked(architecture, bn, backbone, photos, tmp_path):
    before, saved, live = trained("full", backbone(architecture), photos, tmp_path, img_size=SIDE, bn=bn)
    statistics = {name for name in before if is_statistic(name)}
    assert statistics
    for after in (saved, live):
        moved = changed(before, after)
        assert moved & statistics == (statistics if bn == "train" else set())
        assert {name for name in before if name.endswith("weight")} - moved == set()


PATTERNS = {
    ("test_resnet", "layer3"): lambda name: name.startswith("layer3."),
    ("test_resnet", "*.bn1.weight"): lambda name: name.endswith(".bn1.weight"),
    ("test_efficientnet", "blocks.[23].*"): lambda name: name.startswith(("blocks.2.", "blocks.3.")),
    ("test_convnext", "*.gamma"): lambda name: name.endswith(".gamma"),
}


@pytest.mark.parametrize(("case", "meant"), PATTERNS.items(), ids=map(str, PATTERNS))
def test_patterns_name_what_is_trained(case, meant, backbone, photos, tmp_path):
    architecture, pattern = case
    network = backbone(architecture)
    before, saved, _ = trained("last-layers", network, photos, tmp_path, num_views=1, unfreeze=(pattern,))
    moved = {name for name in changed(before, saved) if not name.startswith(network.classifier)}
    matched = {name for name in before if meant(name) and not is_statistic(name)}
    assert moved <= matched
    assert {name for name in matched if not name.endswith("bias")} <= moved


# Divided


def noise(n=3):
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("architecture", "bn"), WAYS)
def test_a_network_divided_anywhere_computes_the_same(architecture, bn, backbone):
    x = noise()
    whole = build(backbone(architecture), 2, 0)
    for number in range(len(parts.stages(whole))):
        parts.freeze_all_but(whole, parts.last_stages(whole, number), bn)
        divided = cut(whole, (SIDE, SIDE))
        with torch.no_grad():
            at_cut = x if divided.head is None else divided.head(x)
            torch.testing.assert_close(divided.tail(at_cut), whole(x))
        assert tuple(at_cut.shape[1:]) == divided.shape
        learns = {id(p) for p in whole.parameters() if p.requires_grad}
        assert learns == {id(p) for p in divided.tail.parameters() if p.requires_grad}
        assert divided.head is None or learns.isdisjoint(id(p) for p in divided.head.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_module_at_the_cut_is_the_one_that_is_named(architecture, backbone):
    whole = build(backbone(architecture), 2, 0)
    parts.freeze_all_but(whole, parts.last_stages(whole, 1), "frozen")
    divided = cut(whole, (SIDE, SIDE))
    seen = []
    whole.get_submodule(divided.module).register_forward_hook(lambda module, x, output: seen.append(output))
    with torch.no_grad():
        whole(noise())
        hooked = seen[-1].clone()
        torch.testing.assert_close(divided.head(noise()), hooked)


def test_what_is_trained_at_the_input_leaves_nothing_to_compute_before(backbone):
    network = build(backbone("test_resnet"), 2, 0)
    parts.freeze_all_but(network, parts.matching(network, ["conv1.0"]), "frozen")
    divided = cut(network, (SIDE, SIDE))
    assert divided.head is None
    with torch.no_grad():
        torch.testing.assert_close(divided.tail(noise()), network(noise()))


# Kept


VIEWS = 3

#: A batch of all images an epoch.
FIVE = with_(DESCENT, lr=0.01, epochs=5)


def views(backbone, paths):
    """Several views of each image, normalised: (n, 3, height, width) each."""
    preprocess, augment = backbone.preprocess, Augment.from_level("light")
    mean, std = (np.array(v, np.float32) for v in (preprocess.mean, preprocess.std))
    found = []
    for number in range(VIEWS):
        rng = np.random.default_rng(number)
        pixels = np.stack([augment(Image.open(path), (SIDE, SIDE), rng) for path in paths])
        found.append(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    return found


def learned(network):
    return torch.cat([p.detach().flatten() for p in network.parameters() if p.requires_grad])


def last_stage_learns(backbone):
    network = build(backbone, 2, 0)
    parts.freeze_all_but(network, parts.last_stages(network, 1), "frozen")
    return network


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize(("kept", "tolerance"), [(np.float32, 1e-4), (np.float16, 5e-3)])
def test_five_updates_on_what_is_kept_are_those_of_the_whole_network(
    architecture, kept, tolerance, backbone, photos
):
    before = backbone(architecture)
    paths, labels = labelled(photos)
    images = views(before, paths)
    ours, plain = last_stage_learns(before), last_stage_learns(before)
    start = learned(plain)

    divided = cut(ours, (SIDE, SIDE))
    with torch.no_grad():
        rows = [divided.head(torch.from_numpy(x)).flatten(1).numpy().astype(kept) for x in images]
    job = Job(ours, divided.tail, Activations(rows, divided.shape, 0), labels, 2, 0, Team())
    train(job, np.arange(len(labels)), FIVE, Checkpoint(), "")

    same_views = Activations([x.reshape(len(x), -1) for x in images], (3, SIDE, SIDE), 0)
    for epoch in range(5):
        x = same_views.batch(np.arange(len(labels)), epoch)
        loss = F.cross_entropy(plain(x), torch.from_numpy(labels))
        wanted = [p for p in plain.parameters() if p.requires_grad]
        with torch.no_grad():
            for parameter, gradient in zip(wanted, torch.autograd.grad(loss, wanted), strict=True):
                parameter -= 0.01 * gradient

    moved = learned(plain) - start
    assert moved.norm() > 0
    assert (learned(ours) - learned(plain)).norm() < tolerance * moved.norm()


@pytest.mark.parametrize(
    ("engine", "architecture"),
    [
        ("torch", "test_resnet"),
        ("torch", "test_efficientnet"),
        ("openvino", "test_resnet"),
        ("onnxruntime", "test_resnet"),
    ],
)
def test_engines_and_the_frozen_part_itself_agree(engine, architecture, backbone, photos, tmp_path):
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    before = backbone(architecture)
    divided = cut(last_stage_learns(before), (SIDE, SIDE))
    by_engine, by_torch = front(before, divided, engine, "fp32", print), TorchFront(before, divided)
    assert not isinstance(by_engine, TorchFront)
    paths = labelled(photos)[0][:5]
    for number in range(2):
        one, two = (
            activations(
                paths, [ViewSpace(f, (SIDE, SIDE), Augment.from_level("light"), number, 0)], tmp_path
            )[0]
            for f in (by_engine, by_torch)
        )
        np.testing.assert_allclose(one, two, rtol=0, atol=2e-3 * np.abs(two).max())


@pytest.fixture
def two_views(backbone, photos):
    before = backbone("test_resnet")
    divided = cut(last_stage_learns(before), (SIDE, SIDE))
    space = TorchFront(before, divided)
    paths = labelled(photos)[0]
    return paths, [ViewSpace(space, (SIDE, SIDE), Augment.from_level("light"), n, 0) for n in range(2)]


def test_activations_that_memory_is_too_small_for_are_the_same_from_disk(two_views, tmp_path):
    paths, spaces = two_views
    kept, spilled = (activations(paths, spaces, tmp_path / "new", limit) for limit in (10**9, 0))
    assert not isinstance(kept[0], np.memmap)
    assert all(isinstance(view, np.memmap) for view in spilled)
    for one, two in zip(kept, spilled, strict=True):
        assert (one == two).all()
    assert list((tmp_path / "new").iterdir()) == []  # the file has no name, so nothing has to be removed


def test_without_room_on_disk_either_the_next_step_is_said(two_views, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    class Full:
        __enter__, __exit__, write = lambda self: self, lambda self, *error: None, full

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(TrainingError, match="--num-views"):
        activations(*two_views, tmp_path, 0)


def test_the_engine_is_told_how_many_views_there_are_to_compute(two_views, backbone, tmp_path):
    """So that ``auto`` times the engines, as it does for plain features."""
    paths, _ = two_views
    before = backbone("test_resnet")
    space = front(before, cut(last_stage_learns(before), (SIDE, SIDE)), "torch", "fp32", print)
    views = [ViewSpace(space, (SIDE, SIDE), Augment.from_level("light"), n, seed=9) for n in range(1, 4)]
    told, run = [], space.run

    def watched(batch):
        told.append(space.expected_images)
        return run(batch)

    space.run = watched
    activations(paths, views, tmp_path)
    assert set(told) == {3 * len(paths)}
