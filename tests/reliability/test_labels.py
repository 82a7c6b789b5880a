"""Class names and tables as people have them: kept as they are, and harmless wherever they are shown."""

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from commands import call
from photos import crops
from safetensors import safe_open

import finetune.cli.app
import zoo.cli.app
from finetune.data.class_names import similar_classes
from finetune.data.read import read
from finetune.report.pages import TEMPLATES
from zoo.errors import DataError
from zoo.markdown import escape

HTML = '<img src=x onerror="alert(1)"><script>alert(2)</script>'

#: Class names that a folder can have.
FOLDERS = {
    "HTML": HTML.replace("/", "\u2215"),
    "Markdown": "[click](javascript:alert(1)) | **bold** `code` <b>",
    "leading hyphen": "--out=elsewhere",
    "line break": "two\nlines",
    "255 bytes": "n" * 255,
    "numbers": "007",
    "number-like": "1e5",
    "look-alike": "d\u043eg",
    "template": "{{ 7 * 7 }}{% raw %}",
    "shell": "$(touch executed); `touch executed` & touch executed",
    "quotes": 'it\'s "quoted"',
    "escape sequence": "\x1b[31mred",
    "right to left": "\u202egnp.tac",
    "emoji": "\N{ANT}\N{HONEYBEE}",
    "null": "null",
    "rich": "[red]not red[reset] :bug:",
    "formula": "=HYPERLINK(1)",
    "not UTF-8": os.fsdecode(b"caf\xe9"),
}

#: And those that only a table can have.
CELLS = {
    "slash": "cats/tabby",
    "up": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "two dots": "..",
    "300 characters": "x" * 300,
    "closing tag": HTML,
    "a CSV's own marks": 'a,"b";c',
    "comment": "-->",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Many different photographs."""
    folder = crops(tmp_path_factory.mktemp("data") / "photos", n=40, side=48)
    return sorted(folder.rglob("*.png"))


COMPARE = ("--repeats", "0", "--methods", "knn", "raw", "--out", "compared", "--markdown", "table.md",
           "--csv", "table.csv")  # fmt: skip


@pytest.fixture(scope="module", params=["folders", pytest.param("table", marks=pytest.mark.slow)])
def made(request, pictures, network, tmp_path_factory):
    """Everything that the commands write of such classes, and their names."""
    place = tmp_path_factory.mktemp(request.param)
    names = FOLDERS if request.param == "folders" else {**FOLDERS, **CELLS}
    names = {kind: name for kind, name in names.items() if request.param == "folders" or "UTF-8" not in kind}
    waiting = iter(pictures)
    rows = []
    for i, name in enumerate(names.values()):
        for j in range(4):
            target = place / "data" / (name if request.param == "folders" else "images") / f"{i}-{j}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(next(waiting), target)
            rows.append({"path": str(target.relative_to(place / "data")), "label": name})
    data = place / "data"
    if request.param == "table":
        data = place / "data" / "table.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    waiting = iter(pictures)
    before = Path.cwd()
    os.chdir(place)
    words = ("--data", data, "--model", network, "--engine", "torch", "--copies", "ignore")
    try:
        done = {
            "fit": call(finetune.cli.app.main, *words, "--out", "run"),
            "predict": call(finetune.cli.app.main, "predict", "run", pictures[0], "--coverage", "0.5"),
            "json": call(finetune.cli.app.main, "predict", "run", pictures[0], "--json"),
            "compare": call(finetune.cli.app.main, "compare", *words, *COMPARE),
            "report": call(finetune.cli.app.main, "report", "run"),
        }  # fmt: skip
        if request.param == "table":
            done["check"] = call(finetune.cli.app.main, "check", *words, "--out", "checked")
    finally:
        os.chdir(before)
    return place, done, names


def test_every_command_takes_them(made):
    place, done, names = made
    for name, command in done.items():
        assert command.code in ((0, 1) if name == "check" else (0,)), (name, command.err)
        assert "Traceback" not in command.err
        assert "\x1b" not in command.out + command.err
    assert not (place / "executed").exists()
    assert not (place / "elsewhere").exists()
    classes = json.loads((place / "run" / "run.json").read_text())["data"]["classes"]
    assert set(classes) == {os.fsencode(name).decode(errors="backslashreplace") for name in names.values()}
    assert len(done["json"].json["classes"]) == len(names)


class Strict(HTMLParser):
    """Notes every tag and attribute of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def test_pages_show_them_as_text(made):
    """No tag, no attribute and no address in a page comes from a name."""
    place, _, names = made
    pages = [path for path in place.rglob("*.html") if "data" not in path.parts[-3:-1]]
    assert pages
    for page in pages:
        found = Strict()
        html = page.read_text(encoding="utf-8")
        # The one script that a page may have is ours, and it is the one that the page's policy lets run.
        script = (TEMPLATES / "map.js").read_text(encoding="utf-8")
        html = html.replace(f"<script>{script}</script>", "", 1)
        found.feed(html)
        assert not found.tags & {"script", "iframe", "object", "embed", "form", "base"}
        assert not [name for name, _ in found.attributes if name.startswith("on")]
        assert not [
            v for k, v in found.attributes if k in ("src", "href") and v and not v.startswith(("data:", "#"))
        ]
        text = " ".join("".join(found.text).split())
        if page.name == "compare.html":  # names no class
            continue
        assert " ".join(FOLDERS["template"].split()) in text
        assert "49" not in text.replace(FOLDERS["template"], "") or "{{" in text
    assert "numbers" in names


def test_markdown_shows_them_as_text(made):
    place, _, _ = made
    for path in (place / "table.md", place / "compared" / "compare.md"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<(img|script|b)\b", text)
        assert "](javascript" not in text


def test_nothing_that_is_exported_names_a_path_of_this_machine(made):
    """The model's folder is what people share: timm's configuration, tensors and their metadata."""
    place, _, _ = made
    model = place / "run" / "model"
    here = (str(place), str(Path.home()) + "/", str(Path.cwd()))
    for path in model.iterdir():
        content = path.read_bytes()
        assert not [word for word in here if word.encode() in content], path.name
    with safe_open(model / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
    config = json.loads((model / "config.json").read_text())
    assert "source" not in config
    assert "file" not in config["pretrained_cfg"]


def test_features_name_images_within_their_folder(pictures, network, tmp_path):
    folder = pictures[0].parent
    for suffix in (".npz", ".npy", ".parquet", ".safetensors"):
        output = tmp_path / f"features{suffix}"
        words = ("extract", network, folder, "-o", output, "--engine", "torch")
        assert call(zoo.cli.app.main, *words).code == 0
        content = b"".join(path.read_bytes() for path in tmp_path.glob(f"features{suffix}*"))
        assert str(folder).encode() not in content
        assert str(folder).encode("utf-32-le") not in content


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("two\nlines", "two lines"),
        ("<script>", "&lt;script&gt;"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("![x](y)", r"\!\[x\](y)"),
        ("`a|b` | <i>", r"`a\|b` \| &lt;i&gt;"),
        ("one ` alone", r"one \` alone"),
        ("snake_case *star* ~~no~~", r"snake\_case \*star\* \~\~no\~\~"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_escaped_markdown(text, shown):
    assert escape(text) == shown


def test_similar_names_are_told():
    assert similar_classes(["a", "b", "A"]) == [("a", "A")]
    assert similar_classes(["caf\u00e9", "cafe\u0301"]) == [("caf\u00e9", "cafe\u0301")]
    assert similar_classes(["dog", "d\u043eg", "\u0501og"]) == [("dog", "d\u043eg", "\u0501og")]
    assert similar_classes(["two words", "two  words", "two\u00a0words"])
    assert similar_classes(["cat", "c\u200dat"])
    assert not similar_classes(["0", "o", "1", "l", "cat", "cart"])


# Tables


@pytest.fixture
def images(pictures, tmp_path):
    (tmp_path / "img").mkdir()
    for i, path in enumerate(pictures[:8]):
        shutil.copy(path, tmp_path / "img" / f"{i}.png")
    return tmp_path


def table(folder, header, row, mark=",", name="t.csv", encoding="utf-8", end="\n"):
    rows = [row(i, "cat" if i % 2 else "dog") for i in range(8)]
    text = end.join(mark.join(cells) for cells in [header, *rows])
    (folder / name).write_bytes((text + end).encode(encoding))
    return folder / name


PLAIN = ("path", "label")
ODD_TABLES = {
    "byte-order mark": {"encoding": "utf-8-sig"},
    "semicolons": {"mark": ";"},
    "tabs in a .csv": {"mark": "\t"},
    "Windows line ends": {"end": "\r\n"},
    "old Mac line ends": {"end": "\r"},
    "capitals and blanks in the header": {"header": (" Path ", "LABEL")},
    "another order and other columns": {
        "header": ("note", "label", "path"),
        "row": lambda i, label: ("a; b", label, f"img/{i}.png"),
    },
    "quoted": {"row": lambda i, label: (f'"img/{i}.png"', f'"{label}"')},
    "blanks around labels": {
        "row": lambda i, label: (f"img/{i}.png", " " * (i % 3) + label + "\t" * (i % 2))
    },
    "dots in paths": {"row": lambda i, label: (f"./img/../img/{i}.png", label)},
    "short rows": {"header": ("path", "label", "note"), "row": lambda i, label: (f"img/{i}.png", label)},
    "long rows": {"row": lambda i, label: (f"img/{i}.png", label, "more", "and more")},
}


@pytest.mark.parametrize("odd", ODD_TABLES.values(), ids=ODD_TABLES)
def test_odd_tables(odd, images):
    given = {"header": PLAIN, "row": lambda i, label: (f"img/{i}.png", label), **odd}
    found = read(table(images, given.pop("header"), given.pop("row"), **given))
    assert found.counts == {"cat": 4, "dog": 4}
    assert not found.skipped


def test_paths_are_read_as_they_are_written(images, tmp_path):
    """Absolute ones, those that lead out of the folder, and `..` behind a link to another folder."""
    (tmp_path / "other" / "deep").mkdir(parents=True)
    (images / "img").rename(tmp_path / "other" / "img")
    (images / "link").symlink_to(tmp_path / "other" / "deep")
    (images / "tables").mkdir()
    forms = (str(tmp_path / "other/img/{}.png"), "../other/img/{}.png", "../link/../img/{}.png")
    rows = table(images / "tables", PLAIN, lambda i, label: (forms[i % 3].format(i), label))
    found = read(rows)
    assert len(found) == 8
    assert not found.skipped


FAULTY = {
    "repeated rows": (
        "path,label\nimg/0.png,a\nimg/1.png,b\nimg/0.png,a\n",
        "line 4: img/0.png is in line 2",
    ),
    "repeated in another form": ("path,label\nimg/0.png,a\nimg//./0.png,a\n", "is in line 2 already"),
    "one field without end": ('path,label\n"img/0.png,a\n' + "x" * 200_000, "cannot be read|no label"),
    "a null byte": ("path,label\nimg/\0.png,a\nimg/1.png,b\n", "too few images"),
    "UTF-16": (b"\xff\xfep\0a\0t\0h\0", "UTF-8"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "UTF-8"),
    "only blanks": ("path,label\n , \n,\n", "no rows"),
    "thousand faults": ("path,label\n" + "img/0.png,\n" * 1000, "1999 faults"),
}


@pytest.mark.parametrize(("content", "says"), FAULTY.values(), ids=FAULTY)
def test_faulty_tables(content, says, images):
    path = images / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=says) as raised:
        read(path)
    assert len(str(raised.value)) < 2000


def test_missing_files_are_skipped_and_named(images):
    (images / "img" / "3.png").unlink()
    found = read(table(images, PLAIN, lambda i, label: (f"img/{i}.png", label)))
    assert sorted(item.path.name for item in found.skipped) == ["3.png"]


def test_labels_that_differ_by_blanks_within(images):
    words = ("two words", "two  words")
    found = read(table(images, PLAIN, lambda i, _: (f"img/{i}.png", words[i % 2])))
    assert found.classes == tuple(sorted(words))
    assert [notice.kind for notice in found.notices] == ["similar class names"]


@pytest.mark.slow
def test_two_million_rows(images, tmp_path):
    """In a process of its own, whose memory is measured; the images need not exist for that."""
    import subprocess
    import sys

    path = images / "large.csv"
    with path.open("w") as file:
        file.write("path,label,split,group\n")
        for i in range(2_000_000):
            name = f"img/{i}.png" if i < 8 else f"img/of/{i % 1000:03d}/photo-{i:07d}.png"
            file.write(f"{name},class {i % 2},{'val' if i % 5 == 4 else 'train'},g{i % 999}\n")
    code = (
        "import resource, sys, time; from finetune.data.read import read; start = time.monotonic()\n"
        "try: read(sys.argv[1])\n"
        "except Exception as e: print(type(e).__name__)\n"
        "else: print('read')\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "print(most, round(time.monotonic() - start, 1))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    outcome, numbers = done.stdout.split("\n")[:2]
    megabytes, seconds = map(float, numbers.split())
    print(f"two million rows: {outcome}, {megabytes:.0f} MB at most, {seconds} s")
    assert outcome == "read"
    assert megabytes < 2000
