"""``finetune predict``: classify images with a finished run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from finetune.cli.flags import Engine, Json, Precision
from finetune.cli.screen import log

if TYPE_CHECKING:
    from finetune.runs.predictor import Predictions
    from finetune.trust import Knowledge

__all__ = ["predict"]


def predict(
    run: Annotated[Path, Parameter(help="A run folder, or a model that `finetune export` wrote.")],
    images: Annotated[list[Path], Parameter(help="Images, and folders of images.")],
    *,
    top: Annotated[int, Parameter(help="How many classes to show for each image.")] = 3,
    coverage: Annotated[
        float | None,
        Parameter(help="Show a set of classes that holds the true one with this probability, such as 0.95."),
    ] = None,
    reject: Annotated[
        float | None,
        Parameter(
            help="Answer `none of these` for images unlike anything in training: 0.05 does so for 5 of 100"
            " images that are like it, too."
        ),
    ] = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> int:
    """Classify images with a finished run.

    Files that are not readable images are named on standard error; the exit code is 2 if none could be
    read.
    """
    import numpy as np

    from finetune.export.predictor import ExportedPredictor, load
    from finetune.trust import Knowledge
    from zoo.cli.console import print_json
    from zoo.images.scan import scan

    predictor = load(run, engine=engine, precision=precision)
    paths = [path for given in images for path in (scan(given).files if given.is_dir() else [given])]
    if not paths:
        log("There are no images there. Give image files, or folders that hold some.")
        return 2
    if isinstance(predictor, ExportedPredictor):
        knowledge = predictor.knowledge
    else:
        knowledge = Knowledge.load(predictor.run.path / "model")
    # What the run cannot give is refused before the images are read, which may take long.
    if coverage is not None:
        knowledge.prediction_sets(np.empty((0, len(predictor.classes))), coverage)
    if reject is not None:
        knowledge.check_level(reject)
    found = predictor.predict_all(paths)
    rows = _rows(found, predictor.classes, top, knowledge, coverage, reject)
    if json:
        skipped = [{"path": e.args[0], "reason": e.reason} for e in found.skipped]
        print_json({"classes": list(predictor.classes), "predictions": rows, "skipped": skipped})
    else:
        _print(rows, coverage, reject)
        for error in found.skipped:
            log(str(error))
    return 0 if rows else 2


def _rows(
    found: "Predictions",
    classes: Sequence[str],
    top: int,
    knowledge: "Knowledge",
    coverage: float | None,
    reject: float | None,
) -> list[dict[str, Any]]:
    """What is printed of each image, by name."""
    order = (-found.scores).argsort(axis=1, kind="stable")
    rows: list[dict[str, Any]] = [
        {
            "path": str(path),
            "prediction": classes[best[0]],
            "probability": float(p[best[0]]),
            "top": [{"class": classes[i], "probability": float(p[i])} for i in best[:top]],
            "scores": scores.tolist(),
        }
        for path, p, scores, best in zip(found.paths, found.probabilities, found.scores, order, strict=True)
    ]
    if coverage is not None:
        sets = knowledge.prediction_sets(found.probabilities, coverage)
        for row, members, best in zip(rows, sets, order, strict=True):
            row["set"] = [classes[i] for i in best if members[i]]
    if knowledge.unfamiliar is not None or reject is not None:
        for row, p in zip(rows, knowledge.unfamiliarity(found.features).tolist(), strict=True):
            row["unfamiliar"] = p
            if reject is not None:
                row["rejected"] = p <= reject
    return rows


def _print(rows: list[dict[str, Any]], coverage: float | None, reject: float | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from zoo.cli.console import stdout

    if not rows:
        return
    columns = ["image", "prediction", "also"]
    columns += [] if coverage is None else [f"set with {coverage:.0%} coverage"]
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        best, *others = row["top"]
        prediction = f"{best['class']} {best['probability']:.1%}"
        also = ", ".join(f"{other['class']} {other['probability']:.1%}" for other in others)
        if row.get("rejected"):
            prediction, also = "none of these", f"unlike training (p = {row['unfamiliar']:.2g})"
        cells = [row["path"], prediction, also, *([] if coverage is None else [", ".join(row["set"])])]
        table.add_row(*map(escape, cells))
    stdout().print(table)
    if reject is not None:
        n = sum(row["rejected"] for row in rows)
        stdout().print(f"{n} of {len(rows)} images are unlike anything in training.")
