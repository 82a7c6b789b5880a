"""How a page is made from its template; all of them extend ``base.html.j2``."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from zoo.images.scan import as_text

__all__ = ["TEMPLATES", "percent", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: dict[str, Any], *folders: Path) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Name of the file.
    values : dict
        What the template shows; a function among them can be used as a filter.
    *folders : Path
        Where else templates lie.

    Returns
    -------
    str
        HTML that needs no other file. All of it can be read without scripts; the only one that a page may
        have shows pictures on the map of the features, and the page's own policy lets no other run.
    """
    # Imported here: a run that needs no page, such as a prediction, shouldn't wait for Jinja.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,  # class names and paths are untrusted text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sha256"] = _sha256
    environment.filters |= {name: value for name, value in values.items() if callable(value)}
    # Names of files and folders may be bytes that are no UTF-8.
    return as_text(environment.get_template(template).render(values))


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent."""
    return f"{100 * share:.{digits}f}%"


def _sha256(text: str) -> str:
    """The digest of a script, as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
