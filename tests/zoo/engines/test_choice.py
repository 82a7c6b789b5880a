"""Choosing an engine and a precision: timed once where it pays, remembered, and robust."""

import json

import numpy as np
import pytest

from zoo.engines import ENGINES, EngineError, build, choice, contract
from zoo.engines.contract import installed
from zoo.features.spaces import BackboneSpace


class Fake:
    """An engine that takes a given time."""

    cosine = 1.0

    def __init__(self, name, precision="fp32"):
        self.name, self.precision = name, precision

    def __call__(self, batch):
        return np.zeros((len(batch), 1280), np.float32)


@pytest.fixture
def speeds(monkeypatch, empty_cache, backbone):
    """Engines of known speed: seconds a batch by name. Counts how often they are timed."""
    seconds = {"openvino": 3.0, "onnxruntime": 1.0, "torch": 2.0}
    timed = []

    def take(engine, pixels, give_up_after=None):
        timed.append(engine.name)
        return seconds[engine.name]

    monkeypatch.setattr(choice, "_make", lambda name, backbone, precision, taps: Fake(name, precision))
    monkeypatch.setattr(choice, "_seconds", take)
    monkeypatch.setattr(choice, "BUDGET", 100.0)
    monkeypatch.setattr(choice, "installed", lambda name: True)
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    seconds["timed"] = timed
    return seconds


def test_the_fastest_is_found_once_and_remembered(backbone, speeds, empty_cache):
    lines = []
    assert build(backbone, n_images=10_000, log=lines.append).name == "onnxruntime"
    assert speeds["timed"] == ["openvino", "onnxruntime", "torch"]
    assert lines == ["onnxruntime runs efficientnet_lite0 fastest here: 32 images/s (openvino 11, torch 16)."]
    lines.clear()
    for n_images in (None, 3, 10_000):
        assert build(backbone, n_images=n_images, log=lines.append).name == "onnxruntime"
    assert len(speeds["timed"]) == 3
    assert lines == []
    (note,) = empty_cache.glob("*/notes/*.json")
    assert json.loads(note.read_text())["finding"]["engine"] == "onnxruntime"
    assert {"processor", "cores", "torch", "tensors_sha256"} <= set(json.loads(note.read_text())["subject"])


def test_a_damaged_note_is_found_out_again(backbone, speeds, empty_cache):
    build(backbone, n_images=10_000)
    (note,) = empty_cache.glob("*/notes/*.json")
    for damage in ("", "[]", '{"subject": {}}', note.read_text()[:50]):
        note.write_text(damage)
        assert build(backbone, n_images=10_000).name == "onnxruntime"
    assert speeds["timed"].count("openvino") == 5


def test_other_versions_and_other_sizes_are_other_questions(backbone, speeds, monkeypatch):
    build(backbone, n_images=10_000)
    speeds["openvino"] = 0.5
    build(backbone, n_images=10_000)
    assert len(speeds["timed"]) == 3
    monkeypatch.setattr(choice, "versions", lambda *packages: {"openvino": "9999"})
    assert build(backbone, n_images=100_000).name == "openvino"


def test_small_jobs_are_not_timed(backbone, speeds):
    lines = []
    assert build(backbone, log=lines.append).name == "openvino"
    assert speeds["timed"] == []
    assert build(backbone, n_images=choice.FEW - 1, log=lines.append).name == "openvino"
    assert speeds["timed"] == []
    speeds["openvino"] = 0.01
    assert build(backbone, n_images=choice.FEW, log=lines.append).name == "openvino"
    assert speeds["timed"] == ["openvino"]
    assert lines == []


def test_a_gpu_is_not_compared_with_the_processor(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert build(backbone, n_images=10**6).name == "torch"
    assert speeds["timed"] == []


@pytest.fixture
def failing(monkeypatch):
    """Let engines fail that are named."""
    real = choice._make

    def fail(*names):
        def make(name, backbone, precision, taps):
            if name in names:
                raise EngineError(f"{name} broke.", "Use another.")
            return real(name, backbone, precision, taps)

        monkeypatch.setattr(choice, "_make", make)

    return fail


def test_an_engine_that_fails_costs_one_line(tiny, failing):
    lines = []
    failing("openvino", "onnxruntime")
    assert build(tiny, log=lines.append).name == "torch"
    expected = [name for name in ("openvino", "onnxruntime") if installed(name)]
    assert lines == [
        f"{name} cannot run {tiny.name}, trying the next engine: {name} broke." for name in expected
    ]
    with pytest.raises(EngineError, match="onnxruntime broke"):
        build(tiny, "onnxruntime")
    failing(*ENGINES)
    with pytest.raises(EngineError, match="torch broke"):
        build(tiny)


def test_a_remembered_engine_may_fail_later(backbone, speeds, monkeypatch):
    build(backbone, n_images=10_000)
    fake = choice._make

    def make(name, *rest):
        if name == "onnxruntime":
            raise EngineError("onnxruntime broke.", "Use another.")
        return fake(name, *rest)

    monkeypatch.setattr(choice, "_make", make)
    lines = []
    assert build(backbone, log=lines.append).name == "openvino"
    assert len(lines) == 1


def test_an_engine_that_is_not_installed_is_passed_over(tiny, monkeypatch):
    monkeypatch.setattr(choice, "installed", lambda name: name == "torch")
    lines = []
    assert build(tiny, log=lines.append).name == "torch"
    assert lines == []


# Precision auto


def test_precision_auto_is_settled_once(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: True)
    monkeypatch.setattr(contract, "has_bf16", lambda: True)
    space = BackboneSpace(backbone, precision="auto")
    assert space.identity["precision"] == "bf16"
    monkeypatch.setattr(choice, "_make", None)  # nothing is made to answer it again
    again = BackboneSpace(backbone, precision="auto")
    assert again.identity == space.identity == BackboneSpace(backbone, precision="bf16").identity


def test_precision_auto_stays_fp32_where_bf16_is_coarse(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: True)
    monkeypatch.setattr(contract, "has_bf16", lambda: True)
    monkeypatch.setattr(Fake, "cosine", property(lambda self: 0.99 if self.precision == "bf16" else 1.0))
    assert BackboneSpace(backbone, precision="auto").identity == BackboneSpace(backbone).identity
    lines = []
    assert build(backbone, precision="bf16", log=lines.append).precision == "bf16"  # chosen, so used
    assert lines == ["bf16 is inexact for efficientnet_lite0: cosine with fp32 0.9900 at worst."]


def test_precision_auto_stays_fp32_without_bf16_arithmetic(backbone, speeds, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: False)
    assert build(backbone, precision="auto").precision == "fp32"
    assert speeds["timed"] == []


def test_bf16_without_the_arithmetic_is_refused_with_a_next_step(backbone, monkeypatch):
    """It would be emulated, at a twentieth of the speed of fp32."""
    monkeypatch.setattr(contract, "has_bf16", lambda: False)
    for engine in ("auto", "torch"):
        with pytest.raises(EngineError, match=r"no bf16 arithmetic\. Use --precision fp32"):
            BackboneSpace(backbone, engine, "bf16")
        with pytest.raises(EngineError, match="no bf16 arithmetic"):
            build(backbone, engine, "bf16")
