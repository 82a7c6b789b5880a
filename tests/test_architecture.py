"""The rules that hold the rooms apart, and the promise that help answers at once."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "timm", "sklearn", "matplotlib", "scipy", "openvino", "onnxruntime", "pandas", "optuna"}

#: The rooms from the ground up, as docs/architecture.md names them: a module imports from its own room and
#: from those before it, nothing from those after it. Names of single modules stand for themselves.
FLOORS = [
    *(
        "zoo.errors",
        "zoo.markdown",
        "zoo.reading",
        "zoo.writing",
        "zoo.parallel",
        "zoo.progress",
        "zoo.cache",
        "zoo.registry",
        "zoo.images",
        "zoo.weights",
    ),
    *("zoo.backbone", "zoo.engines", "zoo.features", "zoo.cli", "zoo.__main__", "zoo"),
    *(
        "finetune.errors",
        "finetune.space",
        "finetune.options",
        "finetune.data",
        "finetune.evaluation",
        "finetune.heads",
        "finetune.likeness",
    ),
    *(
        "finetune.method",
        "finetune.runs",
        "finetune.strategies.probe",
        "finetune.training",
        "finetune.strategies",
    ),
    *(
        "finetune.baselines",
        "finetune.methods",
        "finetune.experiment",
        "finetune.estimators",
        "finetune.curve",
        "finetune.report",
        "finetune.search",
        "finetune.trust",
        "finetune.predictions",
        "finetune.data_record",
        "finetune.hint",
        "finetune.train",
    ),
    *(
        "finetune.export",
        "finetune.compare",
        "finetune.checks",
        "finetune.auto",
        "finetune.cli",
        "finetune.__main__",
        "finetune",
    ),
]


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in ("zoo", "finetune") for path in modules(package)}


def imported(path):
    """Names of modules that a file imports, with whether at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, id(node) in top


def arrows():
    """Which of our modules imports which, anywhere in the file, type hints included."""
    found = {}
    for name, path in MODULES.items():
        targets = set()
        for given, _ in imported(path):
            parts = given.split(".")
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            targets |= {".".join(parts)} - {"", name}
        found[name] = targets
    return found


def floor_of(name):
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return FLOORS.index(name)


ARROWS = arrows()


@pytest.mark.parametrize("name", MODULES)
def test_no_import_climbs(name):
    # What a package's __init__ offers comes from the package itself.
    climbing = {t for t in ARROWS[name] if floor_of(t) > floor_of(name)}
    assert not climbing


def test_no_two_modules_import_each_other():
    def reach(name):
        seen, todo = set(), [name]
        while todo:
            for target in ARROWS[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        return seen

    circles = {name for name in MODULES if name in reach(name)}
    assert not circles


def test_every_room_has_a_floor():
    assert {name.split(".")[0] for name in FLOORS} == {"zoo", "finetune"}
    missing = [name for name in FLOORS if name not in MODULES]
    assert not missing


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
    assert not {name.split(".")[0] for name in loaded} & (HEAVY | {"numpy", "PIL"})


def test_no_pickle_is_read_or_written():
    for path in MODULES.values():
        text = path.read_text(encoding="utf-8")
        assert "pickle.load" not in text, path
        assert "pickle.dump" not in text, path
        for line in text.splitlines():
            assert "torch.load(" not in line or "weights_only=True" in line, path


def test_the_map_names_every_module():
    """docs/architecture.md is what a newcomer reads: it names every module by its path."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = [path for path in MODULES.values() if path.name not in ("__init__.py", "__main__.py")]
    missing = [str(path.relative_to(ROOT)) for path in paths if str(path.relative_to(ROOT)) not in text]
    assert not missing
