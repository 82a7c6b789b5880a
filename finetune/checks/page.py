"""``check.html``: the findings and the images behind them on one page, without scripts."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.checks.contract import Finding
from finetune.checks.record import CheckRecord
from finetune.checks.tables import shown, verdict
from finetune.data.dataset import Dataset
from finetune.report.html import TEMPLATES as REPORT_TEMPLATES
from finetune.report.mistakes import thumbnail

__all__ = ["write_page"]

TEMPLATES = Path(__file__).parent / "templates"

#: How many suspects and pairs of copies are shown.
SUSPECTS, PAIRS = 48, 12


@dataclass(frozen=True)
class Picture:
    """An image with what is said below it."""

    thumbnail: str | None
    path: str
    lines: tuple[str, ...]


def write_page(record: CheckRecord, dataset: Dataset, folder: Path) -> Path:
    """Write the page.

    Parameters
    ----------
    record : CheckRecord
        What to show.
    dataset : Dataset
        The images, for thumbnails.
    folder : Path
        Where to write; pictures that the checks drew are taken from its ``pictures``.

    Returns
    -------
    Path
        The page, which needs no other file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,  # class names and paths are strangers' text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["shown"] = shown
    page = templates.get_template("check.html.j2").render(
        record=record,
        verdict=verdict(record),
        suspects=[_suspect(suspect, dataset) for suspect in record.suspects[:SUSPECTS]],
        pairs=_pairs(record.checks, dataset),
        drawn=[(path.stem, _embedded(path)) for path in sorted((folder / "pictures").iterdir())],
    )
    path = folder / "check.html"
    path.write_text(page, encoding="utf-8")
    return path


def _suspect(suspect: dict[str, Any], dataset: Dataset) -> Picture:
    held_out = " (held out)" if suspect["part"] == "test" else ""
    lines = [f"labelled {suspect['label']}: {suspect['p_label']:.0%}{held_out}"]
    if suspect["looks_like"] != suspect["label"]:
        lines.append(f"looks like {suspect['looks_like']}: {suspect['p_looks_like']:.0%}")
    lines.append(f"strangeness {suspect['strangeness']:.1f}")
    return Picture(thumbnail(dataset.paths[suspect["place"]]), suspect["path"], tuple(lines))


def _pairs(findings: list[Finding], dataset: Dataset) -> list[tuple[Picture, Picture]]:
    """The first copies, each pair once."""
    places = {name: path for name, path in zip(dataset.names, dataset.paths, strict=True)}
    pairs: dict[tuple[str, str], None] = {}
    for finding in findings:
        if finding.check == "duplicates":
            pairs.update({(str(d["a"]), str(d["b"])): None for d in finding.details})
    return [
        (Picture(thumbnail(places[a]), a, ()), Picture(thumbnail(places[b]), b, ()))
        for a, b in list(pairs)[:PAIRS]
    ]


def _embedded(path: Path) -> str:
    kind = {".png": "png", ".svg": "svg+xml"}[path.suffix]
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()
