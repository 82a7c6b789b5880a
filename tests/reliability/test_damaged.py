"""Files of runs, registries and networks that are damaged, hostile or of another version."""

import json
import os
import pickle
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import call
from photos import crops
from safetensors.numpy import load_file, save_file

import zoo.cli.app
from finetune.cli.app import main
from finetune.runs import Unfinished

DEEP = "[" * 100_000

#: Contents that no file of ours has. None removes the file.
DAMAGES = {
    "missing": None,
    "empty": b"",
    "zeros": b"\0" * 300,
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "deeply nested": DEEP.encode(),
    "HTML": b"<!doctype html><title>404</title>",
    "a pickle": pickle.dumps({"a": 1}),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos", n=8, side=64)


@pytest.fixture(scope="module")
def runs(photos, network, tmp_path_factory):
    """A run whose classifier is part of the network, one with a head beside it, and one without a network."""
    place = tmp_path_factory.mktemp("runs")
    for name, options in (("probe", ()), ("knn", ()), ("raw", ())):
        arguments = ("--strategy", name, "--data", photos, "--model", network, "--engine", "torch", *options)
        done = call(main, *arguments, "--out", place / name)
        assert done.code == 0, done.err
    return place


@pytest.fixture
def copy(runs, tmp_path):
    def make(name):
        return Path(shutil.copytree(runs / name, tmp_path / name))

    return make


def predict(run, photos, *options):
    return call(main, "predict", run, photos / "china" / "0.png", "--engine", "torch", "--json", *options)


def refused(done):
    """Whether a command ended as it should: exit code 2, and one message that ends with a next step."""
    assert done.code == 2, (done.out, done.err)
    assert "Traceback" not in done.err
    assert done.out == ""
    return len(done.err.strip().splitlines()) >= 2


PARTS = ("run.json", "model/config.json", "model/model.safetensors", "model/head.safetensors",
         "model/prediction_sets.json", "model/unfamiliar.safetensors")  # fmt: skip
OPTIONAL = ("model/prediction_sets.json", "model/unfamiliar.safetensors")


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_part_of_a_run(part, runs, copy, photos):
    name = "knn" if "head" in part else "probe"
    assert (runs / name / part).exists()
    run = copy(name)
    whole = (run / part).read_bytes()
    cases = {**DAMAGES, "cut in half": whole[: len(whole) // 2], "one byte short": whole[:-1]}
    for damage, content in cases.items():
        (run / part).unlink() if content is None else (run / part).write_bytes(content)
        done = predict(run, photos)
        if damage == "missing" and part in OPTIONAL:
            assert done.code == 0, done.err
        elif damage == "one byte short" and part.endswith(".json"):
            assert done.code == 0 or refused(done)  # a line break at the end is not missed
        else:
            assert refused(done), damage
        (run / part).write_bytes(whole)
    assert predict(run, photos).code == 0


def places(value, path=()):
    """The place of every value in a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if not isinstance(key, int) or key < 2:  # all items of a list are alike
            yield from places(item, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


OTHERS = (None, "x", -1, 1e308, [], {}, [[]], True, "../../etc/passwd")


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["probe", "knn", "raw"])
@pytest.mark.parametrize("part", ["model/config.json", "model/prediction_sets.json"])
def test_every_value_of_another_type(name, part, step, copy, photos):
    """Each value of a configuration in turn becomes something else: predictions, or one message."""
    run = copy(name)
    if not (run / part).exists():
        pytest.skip(f"{name} has no {part}")
    whole = json.loads((run / part).read_text())
    tried = 0
    for i, path in list(enumerate(places(whole)))[::step]:
        for new in OTHERS if step == 1 else (OTHERS[i % len(OTHERS)], OTHERS[(i + 4) % len(OTHERS)]):
            (run / part).write_text(json.dumps(replaced(whole, path, new)))
            done = predict(run, photos)
            assert done.code == 0 or refused(done), (path, new)
            assert "NaN" not in done.out
            tried += 1
    assert tried >= 2
    print(f"{part} of {name}: {tried} values replaced")


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_every_value_of_a_record_of_another_type(step, copy, photos):
    """The same of run.json, which the report shows."""
    run = copy("probe")
    whole = json.loads((run / "run.json").read_text())
    for i, path in list(enumerate(places(whole)))[::step]:
        (run / "run.json").write_text(json.dumps(replaced(whole, path, OTHERS[i % len(OTHERS)])))
        done = call(main, "report", run)
        assert done.code == 0 or refused(done), path


@pytest.mark.parametrize(
    "change", [{"schema": 99}, {"schema": 0}, {"schema": "1"}, {"unknown": 1}, {"seed": None}]
)
def test_records_of_other_versions(change, copy, photos):
    run = copy("probe")
    record = json.loads((run / "run.json").read_text()) | change
    (run / "run.json").write_text(json.dumps(record))
    assert refused(predict(run, photos))


def _with(path, **changes):
    arrays = load_file(path)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    save_file(arrays, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a * np.float32("nan"),
        lambda a: a[:, :-1].copy(),
        lambda a: a.ravel(),
        lambda a: a.astype(np.int8),
    ],
    ids=["NaN", "narrower", "flat", "integers"],
)
def test_other_numbers_in_a_head(change, copy, photos):
    run = copy("knn")
    _with(run / "model" / "head.safetensors", X=change)
    done = predict(run, photos)
    assert done.code == 0 or refused(done)
    assert "NaN" not in done.out


def test_nan_in_the_weights(copy, photos):
    run = copy("probe")
    path = run / "model" / "model.safetensors"
    name = next(n for n, a in load_file(path).items() if a.ndim == 4)
    _with(path, **{name: lambda a: a * np.float32("nan")})
    assert refused(predict(run, photos))


def test_hostile_safetensors_headers(copy, photos):
    """A header that is longer than the file, that asks for all memory, or that points outside of the file."""
    run = copy("probe")
    path = run / "model" / "model.safetensors"
    huge = {"x": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**63]}}
    outside = {"x": {"dtype": "F32", "shape": [4], "data_offsets": [10**9, 10**9 + 16]}}
    for header in (b"", *(json.dumps(h).encode() for h in (huge, outside))):
        for length in (len(header), 2**40, 2**64 - 1):
            path.write_bytes(struct.pack("<Q", length) + header)
            assert refused(predict(run, photos))


@pytest.mark.parametrize("name", ["predictions.csv"])
def test_a_report_of_damaged_tables(name, copy):
    run = copy("probe")
    for content in (b"\0" * 100, b"path,truth\nx", b"\xff", b'path,truth,prediction,probability,correct\n"a'):
        (run / name).write_bytes(content)
        assert refused(call(main, "report", run))


# Registries

ENTRY = "- name: n\n  architecture: resnet18\n  sources: [{path: {file: x.safetensors}}]\n"
REGISTRIES = {
    "tag of a Python object": "models: !!python/object/apply:os.system ['touch executed']\n",
    "tag of a Python name": "models:\n- name: !!python/name:os.system\n",
    "unknown tag": "models: !thing []\n",
    "billion laughs": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "models: *j\n",
    "an alias of itself": "models: &a [*a]\n",
    "deep, in brackets": "models: " + "[" * 100_000,
    "deep, in blocks": "".join(" " * i + "a:\n" for i in range(3000)),
    "an impossible date": "models:\n- name: 2026-99-99\n",
    "merge keys": "models:\n- &a {name: n}\n- <<: *a\n  architecture: x\n",
    "two documents": "models: []\n---\nmodels: []\n",
    "a null byte": "models: []\0",
    "tabs": "models:\n\t- name: n\n",
    "a list": "- name: n\n",
    "unknown key": "version: 99\nmodels: []\n",
    "unknown field": "models:\n" + ENTRY + "  run: rm -rf /\n",
    "missing fields": "models:\n- name: n\n",
    "numbers for text": "models:\n- name: 1\n  architecture: [2]\n  sources: 3\n",
    "hub file above": "models:\n- name: n\n  architecture: a\n  sources: [{hub: {repo: ../x}}]\n",
    "cut": ("models:\n" + ENTRY)[:40],
}


@pytest.mark.parametrize("text", REGISTRIES.values(), ids=REGISTRIES)
def test_hostile_registries(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("registry.yaml").write_text(text)
    start = time.monotonic()
    done = call(zoo.cli.app.main, "list", "--registry", "registry.yaml")
    assert refused(done)
    assert time.monotonic() - start < 5
    assert len(done.err) < 20_000
    assert not Path("executed").exists()


# Pickles


class Executed:
    """What a hostile pickle does when it is loaded carelessly."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors", ".pkl"])
@pytest.mark.parametrize("form", ["pickle", "torch", "in a dictionary"])
def test_hostile_pickles_are_never_executed(form, suffix, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights{suffix}"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Executed()))
    else:
        torch.save(Executed() if form == "torch" else {"conv.weight": Executed()}, path)
    Path("registry.yaml").write_text(
        f"models:\n- name: n\n  architecture: resnet18\n  sources: [{{path: {{file: {path.name}}}}}]\n"
    )
    done = call(zoo.cli.app.main, "extract", "n", photos, "-o", "o.npz", "--registry", "registry.yaml")
    assert refused(done)
    assert not Path("executed").exists()


# What an interrupted training continues from


@pytest.fixture
def stopped(photos, network, tmp_path, monkeypatch):
    """The folder of a training that was stopped after its first checkpoints."""
    from finetune.training.checkpoint import Checkpoint

    monkeypatch.chdir(tmp_path)
    plain, written = Checkpoint.write, []

    def write(self, *given):
        plain(self, *given)
        written.append(1)
        if len(written) == 2:
            raise KeyboardInterrupt

    options = ("--lr", "1e-3", "--epochs", "3", "--batch-size", "8", "--no-interpolate", "--engine", "torch")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", write)
        done = call(
            main, "--strategy", "last-layers", "--data", photos, "--model", network, "--out", "run", *options
        )
    assert done.code == 130, done.err
    return tmp_path / "run.unfinished"


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_checkpoints(every, stopped):
    path = max(stopped.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns)
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    hostile = []
    for progress in ("{}", "[]", "null", DEEP, '{"epoch": "x"}', '{"epoch": 1, "unknown": 2}', "no JSON"):
        changed = json.dumps({**header, "__metadata__": {"progress": progress}}).encode()
        hostile.append(struct.pack("<Q", len(changed)) + changed + whole[8 + length :])
    without = json.dumps({k: v for k, v in header.items() if k != "__metadata__"}).encode()
    hostile.append(struct.pack("<Q", len(without)) + without + whole[8 + length :])
    hostile += [*(c for c in DAMAGES.values() if c is not None), whole[:-1], whole[: len(whole) // 2]]
    for content in hostile[::every]:
        path.write_bytes(content)
        done = call(main, "resume", "run")
        assert refused(done), content[:50]
        assert path.name in done.err
        assert path.read_bytes() == content
    path.write_bytes(whole)
    assert call(main, "resume", "run").code == 0


@pytest.mark.slow
def test_damaged_requests(stopped):
    path = stopped / "request.json"
    whole = json.loads(path.read_text())
    texts = [*(c for c in DAMAGES.values() if c is not None), b'{"schema": 1}', b'{"schema": 99}']
    for place in places(whole):
        texts += [json.dumps(replaced(whole, place, new)).encode() for new in ({}, -1, "x")]
    outcomes = []
    for content in texts:
        path.write_bytes(content)
        done = call(main, "resume", "run")
        assert done.code in (0, 2), done.err
        if done.code == 0:  # what was replaced does not matter to the result, or means the same
            break
        outcomes.append(refused(done))
    assert len(outcomes) >= 15
    assert Unfinished("run").folder
