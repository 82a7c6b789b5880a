import json
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.cli.app import app, main
from zoo.errors import UnknownModelError


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "--help"],
        ["show", "--help"],
        ["pull", "--help"],
        ["extract", "--help"],
        ["cache", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from zoo.cli.app import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'timm', 'sklearn', 'matplotlib', 'numpy', 'pydantic', 'huggingface_hub'};"
        "print(*(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    answer = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr.strip()) == (0, "")
    assert "Usage: zoo" in answer.stdout


def test_list_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split()[:4] == ["name", "family", "top-1", "%"]
    assert len(rows) >= 45
    assert any(row.split()[0] == "efficientnet_lite0" and row.rstrip().endswith("yes") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--family", "vgg"], {"vgg16", "vgg16_bn"}),
        (["--family", "EfficientNet", "--max-parameters", "8"], {"efficientnet_b0", "efficientnet_b1"}),
        (["--licence", "mit", "--family", "HRNet"], {"hrnet_w18_small", "hrnet_w18", "hrnet_w32"}),
        (["--offline"], {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}),
        (["--family", "no such family"], set()),
    ],
)
def test_list_filters(
    arguments: list[str],
    expected: set[str],
    capsys: pytest.CaptureFixture[str],
    empty_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    code, out, _ = run(capsys, "list", "--json", *arguments)
    assert code == 0
    assert {entry["name"] for entry in json.loads(out)} == expected


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "efficientnet_lite0", "--json")
    assert code == 0
    described = json.loads(out)
    assert described["architecture"] == "tf_efficientnet_lite0.in1k"
    assert described["available_offline"] is True
    assert [source["kind"] for source in described["sources"]] == ["package", "hub"]
    code, out, _ = run(capsys, "show", "efficientnet_lite0")
    assert "hub: timm/tf_efficientnet_lite0.in1k@main/model.safetensors" in out


def test_pull_looks_every_name_up_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "pull", "efficientnet_lite0", "efficientnet_light1")
    assert (code, out) == (2, "")
    assert "efficientnet_lite1" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "resnett50"],
        ["show"],
        ["list", "--no-such-option"],
        ["list", "--max-parameters", "many"],
        ["list", "--registry", "/nowhere.yaml"],
        ["no-such-command"],
        ["pull"],
    ],
)
def test_what_a_user_can_fix_is_exit_2_without_a_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("zoo: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 2  # What happened, and what to do.


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(UnknownModelError):
        main(["show", "resnett50", "--debug"])


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.registry.registry.load_registry", interrupted)
    code, out, err = run(capsys, "show", "resnet50")
    assert (code, out, err.strip()) == (130, "", "Interrupted.")


def test_every_command_has_examples() -> None:
    for name in ("list", "show", "pull", "extract"):
        assert f"\n  zoo {name}" in app[name].help_epilogue
