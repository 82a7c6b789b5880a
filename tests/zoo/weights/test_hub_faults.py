"""What goes wrong on the way from the Hub, each with its outcome.

After every fault: nothing partial is loaded or left behind, and the next try works. docs/reliability.md has
the table.
"""

import json
import os
import pickle
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub_server import TINY, XET_TOKEN, Fault, Hub, use

from zoo.cache.folders import CacheError, cache_root
from zoo.errors import WeightsError
from zoo.registry.entry import Entry
from zoo.registry.registry import resolve
from zoo.weights import hub as hub_module
from zoo.weights.locate import PullOptions
from zoo.weights.lock import Lock
from zoo.weights.ready import ready

WEIGHTS = (TINY, "model.safetensors")


def tiny() -> Entry:
    return resolve(f"hf-hub:{TINY}")


def partial_files(folder: Path) -> list[Path]:
    """Everything below a cache that is neither whole nor a lock."""
    return [
        path
        for path in folder.rglob("*")
        if path.name.endswith((".incomplete", ".tmp"))
        or (path.parent.name == "blobs" and path.stat().st_size == 0)
    ]


def refused(hub: Hub, folder: Path, told: str) -> None:
    """Loading must fail with a message, and leave nothing that a later load could take for weights."""
    with pytest.raises(WeightsError, match=f"(?s){told}"):
        ready(tiny())
    assert partial_files(folder) == []
    assert list((cache_root() / "models").glob("*/model.safetensors")) == []
    assert Lock().pins() == {}


def works(tiny_files: dict[str, bytes]) -> None:
    """The next try: the same bytes as if nothing had happened."""
    from safetensors.numpy import load

    loaded = load((ready(tiny()).folder / "model.safetensors").read_bytes())
    meant = load(tiny_files["model.safetensors"])
    assert loaded.keys() == meant.keys()
    assert all((loaded[name] == meant[name]).all() for name in meant)


# On the wire


def test_a_connection_that_breaks_anywhere(hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    size = len(tiny_files["model.safetensors"])
    places = [0, 1, size - 1, *(random.Random(0).randrange(size) for _ in range(17))]
    for at in places:
        hub.faults[WEIGHTS] = Fault("reset", at=at)
        refused(hub, tmp_path / "hub", "could not be reached")
    del hub.faults[WEIGHTS]
    works(tiny_files)


def test_a_connection_that_is_closed_early_goes_on_where_it_was(
    hub: Hub, tiny_files: dict[str, bytes]
) -> None:
    hub.faults[WEIGHTS] = Fault("close", at=5000, times=1)
    works(tiny_files)
    assert len([request for request in hub.gets() if request.startswith("GET /storage/")]) == 2


def test_a_connection_that_stalls(
    hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub_module, "_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.faults[WEIGHTS] = Fault("stall", method="HEAD")
    refused(hub, tmp_path / "hub", "could not be reached")
    hub.faults[WEIGHTS] = Fault("stall", at=5000, times=1)
    works(tiny_files)


@pytest.mark.slow
def test_a_connection_that_stalls_for_ever(
    hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.faults[WEIGHTS] = Fault("stall", at=5000)
    refused(hub, tmp_path / "hub", "could not be reached")
    del hub.faults[WEIGHTS]
    works(tiny_files)


def test_other_bytes_of_the_right_length(hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    for file in ("config.json", "model.safetensors"):
        hub.faults[TINY, file] = Fault("damage")
        refused(hub, tmp_path / "hub", f"{file} was damaged on its way")
        del hub.faults[TINY, file]
    works(tiny_files)


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_asks_for_patience_is_given_it(
    status: int, hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(hub_module.time, "sleep", waited.append)
    hub.faults[WEIGHTS] = Fault("refuse", status=status, method="HEAD", times=2, headers={"Retry_After": "3"})
    works(tiny_files)
    assert waited == [3, 3]


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("after", ["", "3600"])
def test_a_hub_that_is_too_busy_is_told_at_once(
    status: int, after: str, hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    headers = {"Retry_After": after} if after else {}
    hub.faults[WEIGHTS] = Fault("refuse", status=status, method="HEAD", headers=headers)
    start = time.perf_counter()
    refused(hub, tmp_path / "hub", f"answered with {status}")
    with pytest.raises(WeightsError) as caught:
        ready(tiny())
    assert time.perf_counter() - start < 2
    assert ("in 3600 seconds" if after else "later") in caught.value.next_step
    # It is not a reason to fall back to a pickle.
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]
    del hub.faults[WEIGHTS]
    works(tiny_files)


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"../../../../outside"', "X-Linked-Etag": '"../../../../outside"'},
        {"ETag": '""', "X-Linked-Etag": '""'},
        {"X-Repo-Commit": "../../../outside"},
        {"X-Repo-Commit": "main"},
    ],
)
def test_a_server_that_is_no_hub_writes_nowhere(
    headers: dict[str, str], hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    hub.faults[WEIGHTS] = Fault("headers", method="HEAD", headers=headers)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    refused(hub, tmp_path / "hub", "answered, but not as a Hub does")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(tmp_path / "hub" in path.parents or tmp_path / "cache" in path.parents for path in written)
    del hub.faults[WEIGHTS]
    works(tiny_files)


@pytest.mark.slow
def test_a_xet_storage_that_cannot_be_reached(
    hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy that lets the Hub through but not its storage of large files."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")  # By default it takes four minutes.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    told = {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": hub.url + XET_TOKEN}
    hub.faults[WEIGHTS] = Fault("headers", method="HEAD", headers=told)
    refused(hub, tmp_path / "hub", "could not be (read|reached)")
    del hub.faults[WEIGHTS]
    works(tiny_files)


# What the repository holds


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + b"\0" * 20_000


def nan(content: bytes) -> bytes:
    from safetensors.numpy import load, save

    tensors = dict(load(content))
    name = next(name for name, tensor in tensors.items() if tensor.dtype.kind == "f")
    tensors[name] = tensors[name] * float("nan")
    return save(tensors, metadata={"format": "pt"})


HOSTILE = {
    "empty": b"",
    "header longer than the file": header(b"{}", 2**40),
    "header of 2^64": header(b"{}", 2**64 - 1),
    "no JSON": header(b"x" * 50),
    "deep nesting": header(b"[" * 50_000),
    "huge shape": header(
        b'{"conv_stem.weight": {"dtype": "F32", "shape": [99999999, 99999999], "data_offsets": [0, 4]}}'
    ),
    "overflowing shape": header(
        b'{"conv_stem.weight": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}'
    ),
    "offsets outside": header(
        b'{"conv_stem.weight": {"dtype": "F32", "shape": [9000], "data_offsets": [0, 36000]}}'
    ),
    "negative offsets": header(
        b'{"conv_stem.weight": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}'
    ),
    "offsets that overlap": header(
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        b' "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}'
    ),
    "unknown type": header(b'{"conv_stem.weight": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}}'),
    "a pickle of that name": pickle.dumps({"conv_stem.weight": 1}) + b"\0" * 20_000,
}


def test_weights_with_nan_or_a_hostile_header(hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    good = tiny_files["model.safetensors"]
    for name, content in {**HOSTILE, "NaN": nan(good), "cut": good[:-100]}.items():
        hub.move(TINY, {"model.safetensors": content})
        with pytest.raises(WeightsError) as caught:
            ready(tiny())
        assert caught.value.next_step, name
        assert list((cache_root() / "models").glob("*/model.safetensors")) == [], name
        assert Lock().pins() == {}, name  # or the next try would be refused for a digest that nobody wants
    hub.move(TINY, {"model.safetensors": good})
    works(tiny_files)


def test_a_repository_whose_configuration_names_another_network(
    hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    config = json.loads(tiny_files["config.json"])
    for architecture, told in {
        "resnet18": "does not fit resnet18",
        "no_such_network": "Unknown model",
        "../../../x": "names no network",
    }.items():
        hub.move(TINY, {"config.json": json.dumps({**config, "architecture": architecture}).encode()})
        refused(hub, tmp_path / "hub", told)
    hub.move(TINY, {"config.json": tiny_files["config.json"]})
    works(tiny_files)


class Dangerous:
    """A pickle of this makes a folder when it is opened without care."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("executed",))


def test_a_repository_with_only_a_pickle(
    hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tensors: read with weights_only=True, refused in safe mode. Of anything else: never executed."""
    import torch
    from safetensors.torch import load

    monkeypatch.chdir(tmp_path)
    hub.move(TINY, {"model.safetensors": None})
    tensors = load(tiny_files["model.safetensors"])
    torch.save(tensors, tmp_path / "good.bin")
    torch.save({**tensors, "extra": Dangerous()}, tmp_path / "bad.bin")
    (tmp_path / "worse.bin").write_bytes(pickle.dumps(Dangerous()) + b"\0" * 20_000)
    for name in ("bad.bin", "worse.bin"):
        hub.move(TINY, {"pytorch_model.bin": (tmp_path / name).read_bytes()})
        refused(hub, tmp_path / "hub", "cannot be read as weights")
        assert not Path("executed").exists()
    hub.move(TINY, {"pytorch_model.bin": (tmp_path / "good.bin").read_bytes()})
    hub.requests.clear()
    with pytest.raises(WeightsError, match="which safe mode refuses"):
        ready(tiny(), PullOptions(safe=True))
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]
    works(tiny_files)


# On this machine


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let this process write no larger file, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_no_space_for_the_download(hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    size = len(tiny_files["model.safetensors"])
    for limit in (50_000, size // 2, size - 1):
        with files_up_to(limit):
            refused(hub, tmp_path / "hub", "could not be written")
    works(tiny_files)


def test_no_space_for_what_is_made_of_it(hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    from zoo.weights.locate import locate

    locate(tiny())  # downloaded
    with files_up_to(len(tiny_files["model.safetensors"]) // 2), pytest.raises((CacheError, WeightsError)):
        ready(tiny())
    assert partial_files(cache_root()) == []
    assert list((cache_root() / "models").glob("*/model.safetensors")) == []
    works(tiny_files)


@contextmanager
def without_the_right_to_write(*folders: Path) -> Iterator[None]:
    """Make folders read-only; as root, who may write everywhere, become somebody else for the while."""
    modes = {}
    for folder in folders:
        for path in (
            folder,
            *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()),
        ):
            modes[path] = stat.S_IMODE(path.stat().st_mode)
            path.chmod(0o555)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that another user can reach, as pytest's own are not; with our cache in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("hub", "cache"):
            (folder / part).mkdir()
            (folder / part).chmod(0o777)
        monkeypatch.setenv("ZOO_CACHE", str(folder / "cache"))
        yield folder


def test_caches_that_can_only_be_read(
    hub: Hub, open_folder: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(hub, open_folder / "hub", monkeypatch)
    with without_the_right_to_write(open_folder / "hub"), pytest.raises(WeightsError) as caught:
        ready(tiny())
    assert "could not be written" in caught.value.problem
    assert "HF_HOME" in caught.value.next_step
    with without_the_right_to_write(open_folder / "cache"), pytest.raises(CacheError) as refusal:
        ready(tiny())
    assert "ZOO_CACHE" in refusal.value.next_step
    works(tiny_files)
    asked = list(hub.requests)
    with without_the_right_to_write(open_folder):  # All that is needed is there.
        works(tiny_files)
    assert hub.requests == asked


def test_a_registry_where_nothing_can_be_written_is_pinned_in_the_cache(
    hub: Hub, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(hub, open_folder / "hub", monkeypatch)
    mine = open_folder / "shared" / "registry.yaml"
    mine.parent.mkdir()
    mine.write_text("models: []", encoding="utf-8")
    monkeypatch.setenv("ZOO_REGISTRY", str(mine))
    ready(tiny())  # makes the cache folder; pinned beside the registry
    pins = Lock().pins()
    (mine.parent / "zoo.lock").unlink()
    (open_folder / "cache").chmod(0o777)
    for path in (open_folder / "cache").rglob("*"):
        path.chmod(0o777)
    with without_the_right_to_write(mine.parent):
        ready(tiny())
        assert not (mine.parent / "zoo.lock").exists()
        assert Lock().pins() == pins


# Several processes, and one that dies

PULL = (
    "import sys; from zoo.cli.app import main; sys.exit(main(['pull', 'hf-hub:" + TINY + "']))",
    "import sys; from zoo.weights.hub import fetch; fetch('" + TINY + "', 'model.safetensors', 'main')",
)


def start(hub: Hub, tmp_path: Path, script: str) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_processes_that_pull_one_network_at_once(
    count: int, hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    processes = [start(hub, tmp_path, PULL[0]) for _ in range(count)]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in processes]
    assert [code for _, _, code in ended] == [0] * count, ended
    assert len({out for out, _, _ in ended}) == 1
    assert len([request for request in hub.gets() if "storage" in request]) == 1  # one downloaded it
    assert len(list((cache_root() / "models").glob("test_efficientnet-*/model.safetensors"))) == 1
    assert partial_files(tmp_path / "hub") == []
    works(tiny_files)


def test_a_process_that_is_killed_during_the_download(
    hub: Hub, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    hub.faults[WEIGHTS] = Fault("stall", at=5000)
    process = start(hub, tmp_path, PULL[1])
    deadline = time.monotonic() + 60
    while not [request for request in hub.gets() if "storage" in request] and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    del hub.faults[WEIGHTS]
    works(tiny_files)
