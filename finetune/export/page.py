"""``--format page``: one HTML file that classifies images in a browser, offline."""

import base64
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.export.browser import classify_in_browser, find_browser
from finetune.export.onnx_file import check, describe, make, require, save
from finetune.export.predictor import ONNX_FILE
from finetune.export.web_runtime import FILES, VERSION, web_runtime

if TYPE_CHECKING:
    from finetune.export.source import Source

__all__ = ["PAGE_FILE", "write"]

PAGE_FILE = "page.html"

_WEB = Path(__file__).parent / "web"


def write(source: "Source", folder: Path) -> dict[str, float]:
    """Write the page into `folder`; return the greatest difference from the run by runtime.

    Raises
    ------
    RunError
        If a package is missing, ONNX Runtime for browsers cannot be had, or a runtime disagrees with the run.
    """
    require("onnx", "onnxscript", "onnxruntime")
    runtime = web_runtime()
    model = make(source.module, source.pixels)
    describe(model, source.about)
    with tempfile.TemporaryDirectory(prefix="finetune-") as name:
        file = Path(name) / ONNX_FILE
        save(model, file)
        differences = {"ONNX Runtime": check(source, file)}
        (folder / PAGE_FILE).write_text(
            render(source.about, runtime, file.read_bytes()), encoding="utf-8", newline="\n"
        )
        browser = find_browser()
        if browser is None:
            source.notes.append(
                "Not tried in a browser: install Chromium and `pip install playwright`, and export again."
            )
            return differences
        images = source.golden.write_files(Path(name))
        found = classify_in_browser(folder / PAGE_FILE, images, browser)
    return {**differences, "the browser": source.golden.check(found.probabilities, "The browser")}


def render(about: dict[str, Any], runtime: Path, model: bytes) -> str:
    """Return the page.

    Parameters
    ----------
    about : dict
        What the model says of itself.
    runtime : Path
        The folder with ONNX Runtime for browsers.
    model : bytes
        The ONNX file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_WEB), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        title=_title(about["classes"]),
        accuracy=_accuracy(about["accuracy"]),
        about=about,
        about_json=_in_script(json.dumps(about)),
        css=_text("page.css"),
        runtime=_handed_over((runtime / FILES[0]).read_text(encoding="utf-8")),
        resize=_text("resize.js"),
        page=_text("page.js"),
        wasm=_packed((runtime / FILES[1]).read_bytes()),
        model=_packed(model),
        notice=_text("onnxruntime-web-license.txt"),
        runtime_version=VERSION,
    )


def _title(classes: list[str]) -> str:
    if len(classes) <= 4:
        return f"{', '.join(classes[:-1])} or {classes[-1]}?"
    return f"{', '.join(classes[:3])} … which of {len(classes)}?"


def _accuracy(found: dict[str, Any]) -> str:
    """The number to trust: without images that have a copy in training, where there are any."""
    best = found["without_copies"] or found
    lo, hi = best["ci95"]
    return (
        f"Right on {best['accuracy']:.1%} of {best['n']:,} images that it had not seen"
        f" (95% interval {lo:.1%} to {hi:.1%})."
    )


def _text(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


def _packed(content: bytes) -> str:
    """A file as text: gzip, which browsers undo, in base64. The same bytes each time."""
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode()


def _in_script(text: str) -> str:
    """JSON that ends no script and begins no comment, whatever class names hold."""
    return text.replace("<", "\\u003c")


def _handed_over(module: str) -> str:
    """ONNX Runtime's module with its exports handed to the page: an inline module cannot be imported from."""
    exports = re.search(r"export\{([^{}]*)\};?\s*(//# sourceMappingURL=.*)?\s*$", module)
    assert exports is not None  # its digest was checked
    pairs = [pair.split(" as ") for pair in exports[1].split(",")]
    names = ",".join(f"{outer}:{inner}" for inner, outer in pairs if outer != "default")
    return f"{module[: exports.start()]}globalThis.onnxRuntime={{{names}}};".replace("</script", "<\\/script")
