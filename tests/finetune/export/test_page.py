"""The page prepares images as Pillow does, holds no markup that is not ours, and answers as the run does."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from photos import SHARED, needs_photographs
from PIL import Image

import finetune
from finetune.errors import RunError
from finetune.export import export, web_runtime
from finetune.export.browser import classify_in_browser, find_browser
from finetune.export.golden import Golden
from finetune.export.page import render
from finetune.export.source import Source
from finetune.export.web_runtime import FILES
from zoo.images.preprocess import Preprocess

WEB = web_runtime.__file__.replace("web_runtime.py", "web")

NODE = """
const fs = require("fs");
const prepare = new Function(fs.readFileSync(process.argv[1] + "/resize.js", "utf8") + "; return prepare;")();
const pillow = Number(process.argv[3]);
const cases = JSON.parse(fs.readFileSync(process.argv[2] + "/cases.json"));
for (const [i, { width, height, how }] of cases.entries()) {
  const data = fs.readFileSync(`${process.argv[2]}/${i}.in`);
  const rows = (y, n) => ({ data: data.subarray(y * width * 4, (y + n) * width * 4), width, step: 4 });
  fs.writeFileSync(`${process.argv[2]}/${i}.out`, prepare(width, height, rows, { ...how, pillow }));
}
"""

#: Pastes or drops a file.
GIVE = """([bytes, kind]) => {
  const given = new DataTransfer();
  given.items.add(new File([Uint8Array.from(bytes)], "given.png", { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  document.dispatchEvent(kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: given })
    : new DragEvent("drop", { ...options, dataTransfer: given }));
}"""

#: Width, height, and how the image is prepared: shrunk, enlarged, padded, tall, unchanged.
CASES = [
    (250, 188, Preprocess((112, 112))),
    (167, 250, Preprocess((120, 120), "bilinear", 0.9)),
    (50, 40, Preprocess((112, 112))),
    (320, 240, Preprocess((112, 112), "lanczos", 1.0, "squash")),
    (201, 149, Preprocess((112, 112), "hamming", 1.0, "border")),
    (251, 166, Preprocess((32, 32), "box", 1.0, "squash")),
    (112, 112, Preprocess((112, 112), crop_pct=1.0)),
    (151, 389, Preprocess((112, 96))),
    (150, 450, Preprocess((112, 112), "lanczos", 0.9)),
    (75, 600, Preprocess((112, 112), crop_pct=1.0, crop_mode="border")),
]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_every_pixel_is_that_of_pillow(tmp_path):
    rng, cases = np.random.default_rng(0), []
    for i, (width, height, how) in enumerate(CASES):
        pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
        (tmp_path / f"{i}.in").write_bytes(pixels.tobytes())
        (tmp_path / f"{i}.expected").write_bytes(how(Image.fromarray(pixels[..., :3].copy())).tobytes())
        names = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean")
        cases.append({"width": width, "height": height, "how": {name: getattr(how, name) for name in names}})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    pillow = Image.__version__.split(".")[0]
    subprocess.run(["node", "-e", NODE, WEB, str(tmp_path), pillow], check=True)
    wrong = [
        i
        for i in range(len(CASES))
        if (tmp_path / f"{i}.out").read_bytes() != (tmp_path / f"{i}.expected").read_bytes()
    ]
    assert wrong == []


@pytest.fixture
def runtime(tmp_path):
    """A stand-in for ONNX Runtime."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / FILES[0]).write_text(
        "var a=1,b=2;export{a as InferenceSession,b as Tensor,a as default};\n//# sourceMappingURL=x.map"
    )
    (folder / FILES[1]).write_bytes(b"wasm")
    return folder


def test_names_are_text_and_nothing_is_linked(run_of, runtime):
    about = {**Source(run_of()).about, "classes": ["</script><b>&", "ünïcode"]}
    page = render(about, runtime, b"model")
    assert "<b>" not in page
    assert json.loads(re.search(r'id="about">(.*?)</script>', page)[1])["classes"] == about["classes"]
    assert "globalThis.onnxRuntime={InferenceSession:a,Tensor:b}" in page
    assert not re.search(r"(src|href)=|https?://|sourceMappingURL|\bimport\b|\bexport\{", page)
    assert page.count("<script") == page.count("</script>") == 5
    assert "MIT License" in page
    assert "default-src 'none'" in page


def test_without_a_connection_the_message_says_so(empty_cache, monkeypatch):
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: None)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"cannot be fetched.*Go online"):
        web_runtime.web_runtime()
    assert not (empty_cache / "finetune-zoo-v1" / "runtimes" / "onnxruntime-web-1.30.0").exists()


def test_what_is_fetched_is_checked(empty_cache, monkeypatch, tmp_path):
    def fetch(folder):
        (folder / "archive.tgz").write_bytes(b"something else")
        return folder / "archive.tgz"

    monkeypatch.setattr(web_runtime, "_fetch", fetch)
    with pytest.raises(RunError, match="SHA-256"):
        web_runtime.web_runtime()


def test_a_run_without_a_browser_says_that_none_was_tried(run_of, runtime, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.export.page.web_runtime", lambda: runtime)
    monkeypatch.setattr("finetune.export.page.find_browser", lambda: None)
    found = export(run_of(), "page", tmp_path / "out")
    assert "Not tried in a browser" in found.notes[0]


# In a real browser

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium that playwright can drive")


@pytest.fixture(scope="module")
def real_runtime():
    try:
        return web_runtime.web_runtime()
    except RunError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@needs_browser
def test_a_page_answers_as_its_run(run_of, tmp_path, real_runtime, photos):
    found = export(run_of(), "page", tmp_path / "out")
    assert found.differences["the browser"] <= 1e-4
    images = sorted(photos.rglob("*.png"))
    answered = classify_in_browser(found.path, images, find_browser())
    assert answered.requests == []
    run = finetune.load(run_of(), engine="torch")
    expected = run.predict_all(images)
    np.testing.assert_allclose(answered.probabilities, expected.probabilities, atol=1e-4)


@pytest.mark.slow
@needs_browser
def test_a_page_fits_a_phone_and_takes_what_it_is_given(run_of, tmp_path, real_runtime):
    from playwright.sync_api import sync_playwright

    page = export(run_of(), "page", tmp_path / "out").path
    golden = Golden.load(page.parent).write_files(tmp_path)
    (tmp_path / "notes.jpg").write_text("no image")
    problems = []
    with sync_playwright() as driver:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = driver.chromium.launch(executable_path=find_browser(), args=["--no-sandbox", *camera])
        tab = browser.new_context(offline=True, viewport={"width": 400, "height": 800}).new_page()
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(page.as_uri())
        # Added before it is ready, and one that is no image.
        tab.set_input_files("#files", [*map(str, golden[:3]), str(tmp_path / "notes.jpg")])
        tab.wait_for_selector(".card.failed")
        assert tab.locator(".card[data-probabilities]").count() == 3
        assert "Cannot be read" in tab.locator(".card.failed").inner_text()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        with tab.expect_download() as download:
            tab.click("#save")
        lines = download.value.path().read_text().splitlines()
        assert lines[0].startswith('"file","prediction","china","flower"')
        assert len(lines) == 5
        tab.click("#clear")
        assert tab.locator(".card").count() == 0
        tab.evaluate(GIVE, [list(golden[0].read_bytes()), "paste"])
        tab.wait_for_selector(".card[data-probabilities]")
        tab.evaluate(GIVE, [list(golden[1].read_bytes()), "drop"])
        tab.wait_for_selector(".card:nth-child(2)[data-probabilities]")
        tab.click("#camera")
        tab.wait_for_selector("#viewfinder:not([hidden])")
        tab.wait_for_timeout(500)
        tab.click("#shoot")
        tab.wait_for_selector(".card:nth-child(3)[data-probabilities]")
        assert tab.locator(".card").first.get_attribute("data-name").startswith("camera")
        tab.click("#stop")
        browser.close()
    assert problems == []


@pytest.mark.slow
@needs_browser
@needs_photographs
def test_all_photographs_get_the_same_answer_in_the_browser(tmp_path, real_runtime):
    data = SHARED / "ants-bees"
    run = finetune.fit(data, out=tmp_path / "run")
    found = export(run.path, "page", tmp_path / "page")
    images = sorted((data / "val").rglob("*.jpg"))
    answered = classify_in_browser(found.path, images, find_browser())
    expected = finetune.load(run.path).predict_all(images)
    assert len(images) == 153
    assert answered.predictions == [run.data.classes[i] for i in expected.probabilities.argmax(axis=1)]
    np.testing.assert_allclose(answered.probabilities, expected.probabilities, atol=1e-4)
    assert found.size < 25_000_000
    assert answered.requests == []
