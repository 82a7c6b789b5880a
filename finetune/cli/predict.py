"""``finetune predict``: classify images with a finished run."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from finetune.cli.flags import Engine, Json, Precision
from finetune.cli.screen import log

__all__ = ["predict"]


def predict(
    run: Annotated[Path, Parameter(help="A run folder.")],
    images: Annotated[list[Path], Parameter(help="Images, and folders of images.")],
    *,
    top: Annotated[int, Parameter(help="How many classes to show for each image.")] = 3,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> int:
    """Classify images with a finished run.

    Files that are not readable images are named on standard error; the exit code is 2 if none could be
    read.
    """
    from finetune.runs.predictor import load
    from zoo.cli.console import print_json
    from zoo.images.scan import scan

    predictor = load(run, engine=engine, precision=precision)
    paths = [path for given in images for path in (scan(given).files if given.is_dir() else [given])]
    if not paths:
        log("There are no images there. Name image files, or folders with some.")
        return 2
    found = predictor.predict_all(paths)
    order = (-found.scores).argsort(axis=1, kind="stable")
    rows = [
        {
            "path": str(path),
            "prediction": predictor.classes[best[0]],
            "probability": float(p[best[0]]),
            "top": [{"class": predictor.classes[i], "probability": float(p[i])} for i in best[:top]],
            "scores": scores.tolist(),
        }
        for path, p, scores, best in zip(found.paths, found.probabilities, found.scores, order, strict=True)
    ]
    if json:
        skipped = [{"path": e.args[0], "reason": e.reason} for e in found.skipped]
        print_json({"classes": list(predictor.classes), "predictions": rows, "skipped": skipped})
    else:
        _print(rows)
        for error in found.skipped:
            log(str(error))
    return 0 if rows else 2


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from zoo.cli.console import stdout

    table = Table("image", "prediction", "also", box=None, pad_edge=False)
    for row in rows:
        best, *others = row["top"]
        also = ", ".join(f"{other['class']} {other['probability']:.1%}" for other in others)
        table.add_row(escape(row["path"]), escape(f"{best['class']} {best['probability']:.1%}"), escape(also))
    if rows:
        stdout().print(table)
