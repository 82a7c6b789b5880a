"""Every page in headless Chromium: nothing is missing, nothing is requested, nothing sticks out."""

import re

import pytest
from browser import DESK, PHONE, chromium, opened
from networks import Zoo
from photos import tiles
from sample_run import make_run

import finetune
from finetune import checks
from finetune.compare import compare
from finetune.experiment import Request
from finetune.report import write_report
from finetune.runs import MetricsLog

#: What each page must have.
PARTS = {
    "probe": [
        *("Before you trust it", "What to do next", "Confusion matrix", "Calibration", "Choice of L2"),
        *("Least certain images", "Map of the features", "Reproduce this run", "Classes"),
    ],
    "full": ["Training", "Before you trust it", "Confusion matrix"],
    "compare": ["Before you trust it", "What to do next", "Held-out images", "Folds", "Which differ"],
    "search": ["Loss over each option", "All together", "The best"],
    "check": ["Checks", "Likely label errors", "Reproduce these checks"],
}


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def trained(folder):
    """The page of a network that was trained, from what such a run holds."""
    folder.mkdir()
    with MetricsLog(folder) as log:
        for e in range(1, 9):
            log.write(epoch=e, loss=1 / e, accuracy=1 - 0.5 / e, lr=1e-3 / e, update_ratio=10.0**-e)
    judged = [
        {"epochs": e, "validation_loss": 2 / e, "validation_accuracy": 1 - 0.6 / e} for e in range(1, 6)
    ]
    tried = [{"lr": 10.0**-e, "validation_loss": 0.1 * e} for e in (1, 2, 3)]
    choice = {"lr": 0.01, "cv_accuracy": None, "cv_std": None, "curve": judged, "learning_rates": tried}
    classes = ("ants", "b" * 60, *(f"class {i}" for i in range(25)))
    write_report(make_run(strategy="full", classes=classes, choice=choice), folder)


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    photos = tiles(folder / "photos", n=20)
    (photos / "flower").rename(photos / "a very long name of a class <b>with markup & more")
    model = f"local-dir:{Zoo(folder)('test_resnet') and folder / 'test_resnet'}"
    given = {"data": photos, "model": model, "engine": "torch", "copies": "ignore"}
    finetune.fit(**given, out=folder / "probe")
    trained(folder / "full")
    search = {"trials": 3, "minutes": None, "over": ("l2", "loss")}
    finetune.fit(**given, search=search, head="linear", out=folder / "search")
    request = Request(str(photos), (model,), engine="torch", copies="ignore", n_folds=2)
    compare(request, ("majority", "knn", "probe"), repeats=1, out=folder / "compare")
    checks.check(request, out=folder / "check")
    names = {"probe": "report", "full": "report"}
    return {name: folder / name / f"{names.get(name, name)}.html" for name in PARTS}


@pytest.mark.parametrize("name", PARTS)
def test_a_page_is_whole_alone_and_fits(browser, pages, name):
    for width in (PHONE, DESK):
        with opened(browser, pages[name], width) as found:
            assert found.console == []
            assert found.requests == []
            headings = found.page.locator("h2, h3").all_inner_texts()
            missing = [part for part in PARTS[name] if not any(h.startswith(part) for h in headings)]
            assert not missing
            assert found.overflowing() == []
            assert found.cut() == []
            assert found.page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_picture_has_words_and_loads(browser, pages):
    with opened(browser, pages["probe"]) as found:
        images = found.page.evaluate(
            "[...document.images].map((image) => [image.alt, image.naturalWidth, image.src.slice(0, 5)])"
        )
        assert images
        for alt, width, source in images:
            assert len(alt) > 10
            assert width > 0
            assert source == "data:"
        unnamed = found.page.locator("svg:not([aria-label]):not([aria-hidden])").count()
        assert unnamed == 0


def test_class_names_are_whole_on_a_phone(browser, pages):
    with opened(browser, pages["probe"], PHONE) as found:
        header = found.page.locator(".confusion tbody th").first
        assert header.inner_text() == "a very long name of a class <b>with markup & more"
        assert found.page.evaluate("(e) => e.scrollWidth <= e.clientWidth", header.element_handle())


def test_pointing_at_the_map_shows_an_image(browser, pages):
    for width in (PHONE, DESK):
        with opened(browser, pages["probe"], width) as found:
            tip = found.page.locator(".tip")
            assert tip.is_hidden()
            found.page.locator(".map [data-i='3']").hover(force=True)
            assert tip.is_visible()
            assert re.search(r"\d+\.png: ", tip.inner_text())
            assert found.overflowing() == []


def test_the_arrow_keys_move_over_the_map(browser, pages):
    with opened(browser, pages["probe"]) as found:
        found.page.locator("nav a").last.focus()
        for _ in range(40):
            found.page.keyboard.press("Tab")
            if found.page.evaluate("document.activeElement.matches('.map svg')"):
                break
        tip = found.page.locator(".tip")
        first = tip.inner_text()
        assert first
        moved = set()
        for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
            found.page.keyboard.press(key)
            moved.add(tip.inner_text())
        assert len(moved | {first}) > 1
        found.page.keyboard.press("Escape")
        assert tip.is_hidden()


def test_all_but_the_map_pictures_is_there_without_scripts(browser, pages):
    with opened(browser, pages["probe"], java_script_enabled=False) as found:
        headings = found.page.locator("h2, h3").all_inner_texts()
        assert "Map of the features" in headings
        assert found.page.locator(".map [data-i]").count() == 40
        assert found.page.locator(".tip").is_hidden()


def test_a_script_in_a_name_does_not_run(browser, pages, tmp_path):
    text = pages["probe"].read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", "<script>document.title = 'owned'</script></body>"))
    with opened(browser, page) as found:
        assert found.page.title() != "owned"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser, pages, scheme):
    """Contrast of at least 4.5 (WCAG 2.1, 1.4.3) for text."""
    with opened(browser, pages["probe"], color_scheme=scheme) as found:
        ratio = """() => {
            const light = (css) => css.match(/[\\d.]+/g).slice(0, 3).map((v) => {
              const c = v / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
            const luminance = (css) => { const [r, g, b] = light(css); return .2126*r + .7152*g + .0722*b; };
            const paper = luminance(getComputedStyle(document.body).backgroundColor);
            return [".soft", ".headline", "a", ".under", "p"].map((name) => {
              const ink = luminance(getComputedStyle(document.querySelector(name)).color);
              return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05); });
        }"""
        assert min(found.page.evaluate(ratio)) >= 4.5
