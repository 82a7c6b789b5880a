"""Pages in headless Chromium, as a reader sees them."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

#: Widths of a phone and of a desk, in pixels.
PHONE, DESK = 400, 1400


@dataclass
class Opened:
    """A page, what it wrote to the console, and what it requested besides itself."""

    page: object
    console: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def overflowing(self):
        """Elements that stick out of the window, other than inside of what scrolls by itself."""
        return self.page.evaluate(
            """() => [...document.body.querySelectorAll("*")].filter((element) => {
                 if (element.parentElement.closest(".scroll, .key, [hidden], svg")) return false;
                 const box = element.getBoundingClientRect();
                 return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
               }).map((element) => element.outerHTML.slice(0, 120))"""
        )

    def cut(self):
        """Words of charts that stick out of their chart."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("svg text")].filter((text) => {
                 const box = text.getBoundingClientRect();
                 const frame = text.ownerSVGElement.getBoundingClientRect();
                 return box.left < frame.left - 2 || box.right > frame.right + 2 ||
                        box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
               }).map((text) => text.textContent)"""
        )


@contextmanager
def chromium():
    """A browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    # Chromium refuses to run in its sandbox as root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@contextmanager
def opened(browser, path, width=DESK, **options):
    """A file in a window of some width."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    found = Opened(page)
    page.on("console", lambda message: found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.resolve().as_uri())
    found.requests = [
        url for url in found.requests if not url.startswith("data:") and url != path.resolve().as_uri()
    ]
    yield found
    context.close()
