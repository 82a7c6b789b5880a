"""An exported page tried in a real browser."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError

__all__ = ["InBrowser", "classify_in_browser", "find_browser"]

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

#: Milliseconds until the page must be ready, and until each image must be classified.
_READY, _EACH = 60_000, 5_000


@dataclass(frozen=True, eq=False)
class InBrowser:
    """What a page answered.

    Attributes
    ----------
    probabilities : (n, c) float64 array
    predictions : list of str
    unfamiliar : (n,) float64 array
        NaN where it does not say.
    requests : list of str
        Addresses other than the page's own that it asked for: none.
    ready_ms : int
        Milliseconds until it was ready.
    """

    probabilities: NDArray[np.float64]
    predictions: list[str]
    unfamiliar: NDArray[np.float64]
    requests: list[str]
    ready_ms: int


def find_browser() -> str | None:
    """Return the path of a Chromium that playwright can drive; None if either is missing."""
    if find_spec("playwright") is None:
        return None
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


def classify_in_browser(page: Path, images: Sequence[Path], browser: str) -> InBrowser:
    """Open a page from its file, without a network, and have it classify images.

    Parameters
    ----------
    page : Path
        The page.
    images : sequence of Path
        Image files.
    browser : str
        Path of a Chromium.

    Raises
    ------
    RunError
        If the page does not get ready, or does not classify an image.
    """
    from playwright.sync_api import Error, sync_playwright

    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    requests: list[str] = []
    try:
        with sync_playwright() as driver:
            program = driver.chromium.launch(executable_path=browser, args=arguments)
            context = program.new_context(offline=True)
            tab = context.new_page()
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(page.resolve().as_uri())
            tab.wait_for_selector("body[data-ready]", timeout=_READY)
            tab.set_input_files("#files", [str(image) for image in images])
            done = f".card:nth-child({len(images)}):is([data-probabilities], .failed)"
            tab.wait_for_selector(done, timeout=_READY + _EACH * len(images))
            cards = [card.evaluate("card => ({...card.dataset})") for card in tab.query_selector_all(".card")]
            ready = int(tab.get_attribute("body", "data-ready") or 0)
            program.close()
    except Error as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"The page does not work in {browser} ({reason}).", "Nothing was exported.") from error
    failed = [image.name for image, card in zip(images, cards, strict=True) if "probabilities" not in card]
    if failed:
        raise RunError(f"The page in {browser} cannot classify {failed[0]}.", "Nothing was exported.")
    return InBrowser(
        np.array([json.loads(card["probabilities"]) for card in cards]),
        [card["prediction"] for card in cards],
        np.array([float(card["unfamiliar"] or "nan") for card in cards]),
        [url for url in requests if not url.startswith(page.resolve().as_uri())],
        ready,
    )
