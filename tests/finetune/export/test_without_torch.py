"""An exported file predicts where neither torch nor timm nor scikit-learn is installed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from photos import SHARED, needs_photographs

import finetune
from finetune.export import export

ROOT = Path(__file__).resolve().parents[3]

#: All that `finetune predict MODEL.onnx` needs besides Python.
PACKAGES = [
    "onnxruntime", "onnx", "numpy", "pillow", "pydantic", "cyclopts", "rich", "platformdirs", "filelock",
    "pyyaml",
]  # fmt: skip


@pytest.mark.slow
@needs_photographs
def test_the_same_labels_in_a_bare_environment(tmp_path):
    run = finetune.fit(SHARED / "ants-bees", out=tmp_path / "run")
    model = export(run.path, "onnx", tmp_path / "model").path
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, *PACKAGES, "hatchling"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"packages cannot be installed: {done.stderr.splitlines()[-1]}")
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", str(ROOT)], check=True)
    for name in ("torch", "timm", "sklearn", "scipy"):
        assert subprocess.run([str(python), "-c", f"import {name}"], capture_output=True).returncode
    command = [str(python.with_name("finetune")), "predict", str(model), str(SHARED / "ants-bees" / "val")]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = {Path(row["path"]).name: row for row in json.loads(done.stdout)["predictions"]}
    with (run.path / "predictions.csv").open(encoding="utf-8") as file:
        expected = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert len(found) == 153
    assert {name: row["prediction"] for name, row in found.items()} == {
        name: row["prediction"] for name, row in expected.items()
    }
    for name, row in expected.items():
        assert found[name]["probability"] == pytest.approx(float(row["probability"]), abs=1e-4)
    assert all("unfamiliar" in row for row in found.values())
