"""How a page is made from its template; all of them extend ``base.html.j2``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["TEMPLATES", "render"]

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
        HTML that needs no other file and no script.
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
    environment.filters |= {name: value for name, value in values.items() if callable(value)}
    return environment.get_template(template).render(values)
