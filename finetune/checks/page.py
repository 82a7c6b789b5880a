"""``check.html``: the results and the images behind them on one page, without scripts."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.checks.contract import CheckResult
from finetune.checks.data import ELSEWHERE
from finetune.checks.record import CheckRecord
from finetune.checks.tables import shown, verdict
from finetune.data.dataset import Dataset
from finetune.report.findings import findings
from finetune.report.pages import render
from finetune.report.thumbnails import thumbnail

__all__ = ["write_page"]

TEMPLATES = Path(__file__).parent / "templates"

#: How many likely label errors and pairs of copies are shown.
IMAGES, PAIRS = 48, 12


@dataclass(frozen=True)
class Picture:
    """An image with the text below it."""

    thumbnail: str | None
    path: str
    lines: tuple[str, ...]


def write_page(record: CheckRecord, dataset: Dataset, folder: Path) -> Path:
    """Write the page.

    Parameters
    ----------
    record : CheckRecord
        The results.
    dataset : Dataset
        The images, for thumbnails.
    folder : Path
        Where to write; the checks' plots are in its subfolder ``pictures``.

    Returns
    -------
    Path
        The page, which needs no other file.
    """
    notices = [notice for notice in dataset.notices if notice.kind not in ELSEWHERE]
    values = {
        "record": record,
        "verdict": verdict(record),
        "shown": shown,
        "warnings": record.warnings,
        "todo": sorted((r for r in record.checks if r.status != "pass"), key=lambda r: r.status != "fail"),
        "images": [_ranked(image, dataset) for image in record.images[:IMAGES]],
        "findings": findings(notices, Path(dataset.root)),
        "pairs": _pairs(record.checks, dataset),
        "drawn": [(path.stem, _embedded(path)) for path in sorted((folder / "pictures").iterdir())],
    }
    path = folder / "check.html"
    path.write_text(render("check.html.j2", values, TEMPLATES), encoding="utf-8")
    return path


def _ranked(image: dict[str, Any], dataset: Dataset) -> Picture:
    held_out = " (held out)" if image["split"] == "test" else ""
    lines = [f"labelled {image['label']}: {image['p_label']:.0%}{held_out}"]
    if image["predicted"] != image["label"]:
        lines.append(f"predicted {image['predicted']}: {image['p_predicted']:.0%}")
    lines.append(f"outlier score {image['outlier_score']:.1f}")
    return Picture(thumbnail(dataset.paths[image["index"]]), image["path"], tuple(lines))


def _pairs(results: list[CheckResult], dataset: Dataset) -> list[tuple[Picture, Picture]]:
    """Return the first pairs of copies, each once."""
    places = {name: path for name, path in zip(dataset.names, dataset.paths, strict=True)}
    pairs: dict[tuple[str, str], None] = {}
    for result in results:
        if result.check == "duplicates":
            pairs.update({(str(d["a"]), str(d["b"])): None for d in result.details})
    return [
        (Picture(thumbnail(places[a]), a, ()), Picture(thumbnail(places[b]), b, ()))
        for a, b in list(pairs)[:PAIRS]
    ]


def _embedded(path: Path) -> str:
    kind = {".png": "png", ".svg": "svg+xml"}[path.suffix]
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()
