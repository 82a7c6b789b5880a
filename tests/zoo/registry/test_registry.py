import re
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.errors import RegistryError, UnknownModelError
from zoo.registry.entry import Entry, HubSource, PackageSource, PathSource
from zoo.registry.registry import DEFAULT_MODEL, load_registry, resolve
from zoo.weights.keymaps import KEYMAPS

ENTRIES = load_registry().entries

# What a user asks for by name (the list), so that no later edit loses a family.
FAMILIES = {
    "ConvNeXt",
    "DLA",
    "DenseNet",
    "EfficientNet",
    "EfficientNet-Lite",
    "EfficientNetV2",
    "GhostNet",
    "HRNet",
    "Inception",
    "MNASNet",
    "MobileNetV2",
    "MobileNetV3",
    "MobileNetV4",
    "RegNetY",
    "RepVGG",
    "ResNeXt",
    "ResNet",
    "SE-ResNet",
    "VGG",
    "Xception",
}


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# The contract of every entry


def test_the_zoo_is_as_large_as_promised() -> None:
    assert len(ENTRIES) >= 45
    assert {entry.family for entry in ENTRIES} == FAMILIES
    assert DEFAULT_MODEL in {entry.name for entry in ENTRIES}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entry_is_complete(entry: Entry) -> None:
    lacking = [name for name, value in entry.model_dump().items() if value is None]
    assert lacking == []
    assert re.fullmatch(r"[a-z0-9_]+", entry.name)
    assert f"{entry.input_size} px" in (entry.top1_source or "")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entry_agrees_with_timm(entry: Entry) -> None:
    import timm

    config = timm.get_pretrained_cfg(entry.architecture)
    assert config is not None
    assert (entry.licence or "").lower() == config.license
    assert config.input_size == (3, entry.input_size, entry.input_size)
    hub = [source for source in entry.sources if isinstance(source, HubSource)]
    assert [source.repo for source in hub] == [f"timm/{entry.architecture}"]


@pytest.mark.parametrize(
    "entry",
    [
        # Five of them quickly, all of them slowly.
        pytest.param(entry, id=entry.name, marks=[] if place % 15 == 0 else pytest.mark.slow)
        for place, entry in enumerate(ENTRIES)
    ],
)
def test_entry_describes_the_network(entry: Entry) -> None:
    import timm
    import torch

    # On the meta device nothing is computed or stored: seventy networks cost seconds.
    with torch.device("meta"):
        model = timm.create_model(entry.architecture, pretrained=False).eval()
        parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        assert entry.parameters == pytest.approx(parameters, abs=0.006)
        model.reset_classifier(0)
        features = model(torch.zeros(1, 3, entry.input_size, entry.input_size))
    assert features.shape == (1, entry.num_features)
    assert model.head_hidden_size == entry.num_features


def test_lite_weights_come_from_packages_first() -> None:
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        first, second = load_registry().get(name).sources
        assert isinstance(first, PackageSource)
        assert isinstance(second, HubSource)


def test_every_key_map_can_be_named() -> None:
    for source in (PackageSource, PathSource):
        named = source.model_json_schema()["properties"]["keymap"]["anyOf"][0]
        assert set(named.get("enum", [named.get("const")])) == set(KEYMAPS)


# Faults are reported with their lines

FAULTY = """\
colour: red
models:
  - name: a
    architecture: resnet18.a1_in1k
    sources: []
  - name: b
    architecture: resnet18.a1_in1k
    parametres: 3
    gmacs: -1
    sources:
      - hub: {repo: no-owner}
      - ftp: {file: w.pth}
      - package: {distribution: d, file: f, sha256: abc}
  - name: a
    sources:
      - path: {file: w.pth}
        hub: {repo: o/r}
  - only a name
  - name: c
    name: d
    architecture: resnet18.a1_in1k
    sources:
      - path:
          fil: w.pth
"""


def test_every_fault_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        load_registry(write(tmp_path, FAULTY))
    found = re.findall(r"line (\d+): (.*)", caught.value.problem)
    expected = [
        (1, "unknown key colour"),
        (5, "a: sources is empty"),
        (8, "b: unknown key parametres"),
        (9, "b: gmacs: input should be greater than 0"),
        (11, "b: sources.0.hub.repo: string should match"),
        (12, "b: a source is `hub: {...}` or"),
        (13, "b: sources.2.package.sha256: string should match"),
        (14, "a: architecture is missing"),
        (14, "the name a is taken since line 3"),
        (16, "a: a source is `hub: {...}` or"),
        (18, "an entry is a mapping"),
        (20, "name is given twice"),
        (23, "d: sources.0.path.file is missing"),
        (24, "d: unknown key sources.0.path.fil"),
    ]
    assert [int(line) for line, _ in found] == [line for line, _ in expected]
    for (_, text), (_, start) in zip(found, expected, strict=True):
        assert text.startswith(start)


@pytest.mark.parametrize(
    "text", ["", "models: [", "a: 1", "- x", "\0", "models: 3", "!!python/object:os.system"]
)
def test_what_is_no_registry_is_one_clear_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"line \d"):
        load_registry(write(tmp_path, text))


def test_a_missing_registry_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        load_registry(tmp_path / "none.yaml")


# Overlays

MINE = """\
models:
  - name: resnet50
    architecture: resnet50.a1_in1k
    sources: [{path: {file: weights/mine.safetensors}}]
  - name: flowers
    architecture: resnet18.a1_in1k
    sources: [{hub: {repo: me/flowers, revision: v1}}]
"""


def test_the_users_entries_lie_over_ours(tmp_path: Path) -> None:
    registry = load_registry(write(tmp_path, MINE))
    assert len(registry.entries) == len(ENTRIES) + 1
    assert registry.get("resnet50").sources == (PathSource(file=tmp_path / "weights/mine.safetensors"),)
    assert registry.get("flowers").sources == (HubSource(repo="me/flowers", revision="v1"),)
    assert registry.get("resnet18") == load_registry().get("resnet18")


def test_the_environments_registry_lies_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_REGISTRY", str(write(tmp_path, MINE)))
    assert load_registry().get("resnet50").architecture == "resnet50.a1_in1k"
    last = tmp_path / "last.yaml"
    last.write_text(MINE.replace("resnet50.a1_in1k", "resnet50.a2_in1k"), encoding="utf-8")
    assert load_registry(last).get("resnet50").architecture == "resnet50.a2_in1k"


def test_an_edited_registry_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, MINE)
    load_registry(path)
    write(tmp_path, MINE.replace("flowers", "trees"))
    assert "trees" in load_registry(path).names()


# Names


def test_registry_and_timm_names_mean_the_same_entry() -> None:
    assert resolve("resnet50_a1") is resolve("resnet50.a1_in1k")


def test_a_bare_timm_name_is_made_up(empty_cache: Path) -> None:
    entry = resolve("resnet26t.ra2_in1k")
    assert entry.architecture == "resnet26t.ra2_in1k"
    assert entry.licence == "Apache-2.0"
    assert entry.input_size == 256
    assert entry.sources[0] == HubSource(repo="timm/resnet26t.ra2_in1k", file="model.safetensors")
    assert resolve("resnet26t.ra2_in1k") == entry  # This time from the note that the first call left.


def test_a_timm_name_without_a_tag_gets_timms_default(empty_cache: Path) -> None:
    assert resolve("resnet26t").architecture == "resnet26t.ra2_in1k"


def test_a_hub_name_is_made_up() -> None:
    entry = resolve("hf-hub:me/flowers@v1")
    assert [(source.repo, source.revision) for source in entry.sources if isinstance(source, HubSource)] == [
        ("me/flowers", "v1"),
        ("me/flowers", "v1"),
    ]


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder_is_made_up(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}', encoding="utf-8")
    entry = resolve(f"{prefix}{tmp_path}")
    assert entry.architecture == "resnet18"
    assert entry.sources == (PathSource(file=tmp_path),)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnett50", "resnet50"),
        ("efficientnet-lite0", "efficientnet_lite0"),
        ("ConvNext_Tiny", "convnext_tiny"),
        ("resnet26tt.ra2_in1k", "resnet26t.ra2_in1k"),
        ("resnet50.no_such_tag", "resnet50_a1"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve(name)
    assert nearest in re.split(r"[ ,]+", caught.value.next_step)


@pytest.mark.parametrize(
    "name", ["hf-hub:flowers", "hf-hub:", "hf-hub:a/b/c", "local-dir:/nowhere", "no/folder", ""]
)
def test_a_name_that_cannot_mean_anything(name: str) -> None:
    with pytest.raises(UnknownModelError):
        resolve(name)


# What it costs


def test_resolving_needs_neither_torch_nor_timm() -> None:
    script = (
        "import sys; from zoo.registry.registry import resolve;"
        "resolve('resnet50'); resolve('resnet50.a1_in1k');"
        "print([name for name in ('torch', 'timm', 'numpy', 'huggingface_hub') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
