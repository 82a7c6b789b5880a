"""Write the parts of the docs that follow from the code: transcripts, map of modules, table of options.

``make transcripts`` writes all three. A test compares the map and the table with what this would write, and
the shape of the transcripts with what the commands print.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]

#: A block that is generated: everything between these two comments.
_BLOCK = "<!-- generated: {0} -->\n{1}<!-- end -->"

_TRANSCRIPT = re.compile(r"(<!-- transcript: (.+?) -->\n```console\n\$ .+?\n)(.*?)```", re.DOTALL)


def main() -> None:
    """Rewrite everything."""
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]):
        old = path.read_text(encoding="utf-8")
        new = _TRANSCRIPT.sub(lambda m: f"{m[1]}{output_of(m[2])}```", old)
        for name, make in GENERATED.items():
            new = with_block(new, name, make())
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"rewrote {path.relative_to(ROOT)}")


def transcripts(text: str) -> list[tuple[str, str]]:
    """Return the command and the output of every transcript in a text."""
    return [(m[2], m[3]) for m in _TRANSCRIPT.finditer(text)]


def output_of(command: str) -> str:
    """Run a command in an empty folder, as in a fresh checkout, and return its standard output."""
    words = command.split()
    words[0] = str(Path(sys.executable).with_name(words[0]))
    with TemporaryDirectory() as folder:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


def with_block(text: str, name: str, content: str) -> str:
    """Return a text with its generated block of that name replaced, if it has one."""
    pattern = re.compile(_BLOCK.format(re.escape(name), ".*?"), re.DOTALL)
    return pattern.sub(lambda _: _BLOCK.format(name, content), text)


def module_map() -> str:
    """Return a table of all modules with the first sentence of their docstrings."""
    lines = ["\n| module | what it holds |\n| --- | --- |\n"]
    for package in ("zoo", "finetune"):
        for path in sorted((ROOT / package).rglob("*.py"), key=lambda p: (p.parent.parts, p.name)):
            if path.name in ("__init__.py", "__main__.py"):
                continue
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            first = " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")
            lines.append(f"| `{path.relative_to(ROOT).as_posix()}` | {first} |\n")
    return "".join(lines) + "\n"


def option_table() -> str:
    """Return a table of all options that methods declare."""
    from finetune.methods import METHODS
    from finetune.options import choices, flag

    declared: dict[tuple[str, str, str], list[str]] = {}
    for name, method in METHODS.items():
        for option, field in method.Options.model_fields.items():
            default = "" if field.default is None else str(field.default)
            words = f" ({', '.join(choices(field))})" if choices(field) else ""
            declared.setdefault((option, default, f"{field.description}{words}"), []).append(name)
    lines = ["\n| option | methods | default | |\n| --- | --- | --- | --- |\n"]
    lines += [
        f"| `{flag(option)}` | {', '.join(methods)} | {default} | {text} |\n"
        for (option, default, text), methods in sorted(declared.items())
    ]
    return "".join(lines) + "\n"


GENERATED = {"modules": module_map, "options": option_table}

if __name__ == "__main__":
    main()
