"""What commands left on the disk: None if nothing, else all that matters of it; half of it raises."""

import json

import numpy as np
from safetensors import safe_open

from finetune.runs import Run

__all__ = ["a_check", "a_run", "an_export", "comparison", "features", "pair"]


def features(path):
    if not path.exists():
        return None
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


def a_run(path):
    if not path.exists():
        return None
    run = Run.load(path)
    with safe_open(path / "model" / "model.safetensors", framework="np") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    assert (path / "report.html").read_text().rstrip().endswith("</html>")
    return {"run": run.without_times(), "tensors": tensors, "csv": (path / "predictions.csv").read_bytes()}


def comparison(path):
    if not path.exists():
        return None
    for result in path.glob("methods/*.json"):
        json.loads(result.read_text())
    if not (path / "compare.json").exists():
        return None
    found = json.loads((path / "compare.json").read_text())
    for method in found["methods"]:
        del method["seconds"], method["folds"]["seconds"]
    return {**found, "seconds": None}


def a_check(path):
    if not path.exists():
        return None
    assert (path / "check.html").exists()
    return [
        (c["check"], c["name"], c["status"]) for c in json.loads((path / "check.json").read_text())["checks"]
    ]


def an_export(path):
    if not path.exists():
        return None
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def pair(path):
    """An .npy file and the .json beside it: where the one is, the other is too."""
    beside = path.with_name(path.name + ".json")
    return (path.read_bytes(), beside.read_bytes()) if path.exists() else None
