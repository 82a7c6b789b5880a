"""The rules that hold the rooms apart, and the promise that help answers at once."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "timm", "sklearn", "matplotlib", "scipy", "openvino", "onnxruntime", "pandas"}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(path):
    """Names of modules that a file imports, with whether at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            yield name, id(node) in top


@pytest.mark.parametrize("path", modules("zoo"), ids=lambda p: str(p.relative_to(ROOT)))
def test_zoo_never_imports_finetune(path):
    assert not [name for name, _ in imported(path) if name.split(".")[0] == "finetune"]


@pytest.mark.parametrize(
    "path", [*modules("zoo"), *modules("finetune")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_nothing_imports_a_command_line(path):
    if path.name != "__main__.py":
        assert not [name for name, _ in imported(path) if name in ("zoo.cli.app", "finetune.cli.app")]


@pytest.mark.parametrize("program", ["zoo", "finetune"])
def test_command_lines_import_nothing_heavy(program):
    for name, top in imported(ROOT / program / "cli" / "app.py"):
        assert not top or name.split(".")[0] not in HEAVY


@pytest.mark.parametrize("program", ["zoo", "finetune"])
@pytest.mark.parametrize("command", [["--help"], []])
def test_help_loads_nothing_heavy(program, command):
    arguments = command or [{"zoo": "list", "finetune": "predict"}[program], "--help"]
    code = (
        f"import sys, json; from {program}.cli.app import main; code = main({arguments!r});"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert exit_code == 0
    assert not {name.split(".")[0] for name in loaded} & (HEAVY | {"numpy", "PIL", "pydantic"})


def test_no_pickle_is_read_or_written():
    for path in [*modules("zoo"), *modules("finetune")]:
        text = path.read_text(encoding="utf-8")
        assert "pickle.load" not in text, path
        assert "pickle.dump" not in text, path
        for line in text.splitlines():
            assert "torch.load(" not in line or "weights_only=True" in line, path


def test_the_map_names_every_room():
    """docs/architecture.md is what a newcomer reads: it must not fall behind the code."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in [*modules("zoo"), *modules("finetune")]:
        if path.name in ("__init__.py", "__main__.py"):
            continue
        assert path.name in text, f"docs/architecture.md does not name {path.relative_to(ROOT)}"
